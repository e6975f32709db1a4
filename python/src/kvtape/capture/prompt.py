"""A prompt as tokens, with the places of needles, for tokenizers of the library `tokenizers`."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvtape.capture.arguments import Asked, Place
from kvtape.errors import UsageError
from kvtape.records import Span, SpanKind


@dataclass(frozen=True)
class Prompt:
    """What the model reads before it writes."""

    tokens: list[int]
    pieces: list[bytes]  #: the text of every token
    spans: list[Span]
    context_len: int


class Tokenizer:
    """What a recording asks of a fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not hasattr(self._backend, "get_added_tokens_decoder"):
            raise UsageError(
                f"recording with a {type(tokenizer).__name__}: it is no fast tokenizer and cannot say "
                "where tokens stand in the text; load one with AutoTokenizer"
            )
        self._added = dict(self._backend.get_added_tokens_decoder())
        self._bytes = _byte_alphabet() if type(self._backend.decoder).__name__ == "ByteLevel" else None

    def is_special(self, token: int) -> bool:
        """Whether the token is no text, as `<s>`."""
        return token in self._added and bool(self._added[token].special)

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of all, special tokens left out."""
        text: str = self._backend.decode(list(tokens), skip_special_tokens=True)
        return text

    def pieces_of(self, before: Sequence[int], tokens: Sequence[int]) -> list[bytes]:
        """The text that each of `tokens` adds after `before`."""
        if self._bytes is not None:
            return [self._piece(token) for token in tokens]
        pieces, written = [], [*before]
        text = self._backend.decode(written, skip_special_tokens=False)
        for token in tokens:
            written.append(token)
            longer = self._backend.decode(written, skip_special_tokens=False)
            # A token inside of a character says nothing until the last one of it comes.
            grown = longer[len(text) :] if longer.startswith(text) and not longer.endswith("\ufffd") else ""
            pieces.append(grown.encode())
            text = longer if grown else text
        return pieces

    def _piece(self, token: int) -> bytes:
        if token in self._added:
            content: str = self._added[token].content
            return content.encode()
        name = self._name(token).decode()
        assert self._bytes is not None
        if not all(letter in self._bytes for letter in name):
            return name.encode()
        return bytes(self._bytes[letter] for letter in name)

    def encode(self, text: str, add_special_tokens: bool) -> tuple[list[int], list[bytes], list[int]]:
        """Ids, the text of each, and where each begins among the bytes of `text`.

        A special token that the tokenizer puts around the text has its name as text and begins
        where its neighbour does.
        """
        encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
        ids: list[int] = list(encoding.ids)
        around = [
            begin == end and self.is_special(token)
            for token, (begin, end) in zip(ids, encoding.offsets, strict=True)
        ]
        whole = text.encode()
        pieces = [self._piece(token) for token in ids] if self._bytes is not None else []
        if (
            b"".join(piece for piece, extra in zip(pieces, around, strict=False) if not extra) != whole
            or not pieces
        ):
            pieces = _by_characters(text, encoding.offsets, around, [self._name(token) for token in ids])
        sizes = [0 if extra else len(piece) for piece, extra in zip(pieces, around, strict=True)]
        begins = np.concatenate([[0], np.cumsum(sizes)])[: len(ids)]
        return ids, pieces, [int(begin) for begin in begins]

    def _name(self, token: int) -> bytes:
        """Nothing for an id that the tokenizer lacks: the vocabulary of a model may be padded."""
        name: str | None = self._backend.id_to_token(token)
        return (name or "").encode()


def _by_characters(
    text: str, offsets: Sequence[tuple[int, int]], around: Sequence[bool], names: Sequence[bytes]
) -> list[bytes]:
    """Cuts `text` where tokens begin; tokens inside of one character share it, the last one has it."""
    starts = [begin for (begin, _), extra in zip(offsets, around, strict=True) if not extra]
    cuts = [0, *np.maximum.accumulate(starts[1:], dtype=np.int64).tolist(), len(text)] if starts else []
    parts = iter([text[a:b].encode() for a, b in itertools.pairwise(cuts)])
    return [name if extra else next(parts) for name, extra in zip(names, around, strict=True)]


def _byte_alphabet() -> dict[str, int]:
    """The letters by which byte-level tokenizers write bytes (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {chr(byte): byte for byte in plain}
    return letters | {chr(256 + index): byte for index, byte in enumerate(others)}


def tokenize(tokenizer: Tokenizer, asked: Asked) -> Prompt:
    """Context and question as one text; a token that holds text of both is the last of the context."""
    context, question = asked.prompt, asked.question
    text = context + question
    ids, pieces, begins = tokenizer.encode(text, asked.add_special_tokens)
    if not ids:
        raise UsageError("recording a prompt: it has no tokens")
    ends = [*begins[1:], len(text.encode())]
    context_len = bisect.bisect_left(begins, len(context.encode())) if question else len(ids)
    first = 1 if tokenizer.is_special(ids[0]) else 0
    if context_len < max(first, 1):
        raise UsageError("recording a prompt: the tokenizer makes no token of it before the question")
    spans = [Span(SpanKind.SYSTEM, 0, 1)] if first else []
    spans.append(Span(SpanKind.CONTEXT, first, context_len))
    marked = ((SpanKind.NEEDLE, asked.needles, 0), (SpanKind.DISTRACTOR, asked.distractors, -1))
    for kind, places, group in marked:
        for place in places:
            begin, end = _bytes_of(place, context, kind.name.lower())
            spans.append(Span(kind, bisect.bisect_right(ends, begin), bisect.bisect_left(begins, end), group))
    if len(ids) > context_len:
        spans.append(Span(SpanKind.QUESTION, context_len, len(ids), 0))
    return Prompt(ids, pieces, spans, context_len)


def _bytes_of(place: Place, context: str, what: str) -> tuple[int, int]:
    """Where a needle stands among the bytes of the context."""
    if isinstance(place, str):
        begin = context.find(place) if place else -1
        if begin < 0:
            raise UsageError(f"recording a prompt: the {what} '{place[:60]}' is not in the context")
        if context.find(place, begin + 1) >= 0:
            raise UsageError(
                f"recording a prompt: the {what} '{place[:60]}' is in the context more than once; "
                "give it as (begin, end)"
            )
        place = (begin, begin + len(place))
    begin, end = place
    if not 0 <= begin < end <= len(context):
        raise UsageError(
            f"recording a prompt: the {what} ({begin}, {end}) is no range of the {len(context)} "
            "characters of the context"
        )
    return len(context[:begin].encode()), len(context[:end].encode())


def is_right(generated: str, answer: str) -> bool:
    """Whether the answer stands in the text, in any case, with neither a letter nor a digit beside it.

    An answer of several lines wants each of them; in a line, ` | ` stands between alternatives.
    """
    text = _lower(generated)
    return all(
        any(_mentions(text, choice) for choice in line.split(" | ")) for line in _lower(answer).split("\n")
    )


def _lower(text: str) -> str:
    """A-Z as a-z, and nothing else, as the program does it."""
    return text.translate({letter: letter + 32 for letter in range(ord("A"), ord("Z") + 1)})


def _mentions(text: str, word: str) -> bool:
    at = text.find(word) if word else -1
    while at >= 0:
        around = (text[at - 1 : at] if at else "") + text[at + len(word) :][:1]
        if not any(character.isascii() and character.isalnum() for character in around):
            return True
        at = text.find(word, at + 1)
    return False
