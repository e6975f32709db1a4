"""What the two files say beside their tensors.

Letters in shapes, here and everywhere: `L` layers, `Hq` query heads, `Hk` KV heads, `D` head
dimension, `T` tokens of a sequence, `Tq` positions whose queries were recorded, `Tr` rows of a
second pass, `G` generated tokens.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]


class SpanKind(enum.IntEnum):
    """What a span of tokens is."""

    SYSTEM = 0
    CONTEXT = 1
    NEEDLE = 2
    QUESTION = 3
    ANSWER = 4
    DISTRACTOR = 5


class Span(NamedTuple):
    """Tokens `begin` to `end`, excluded. `group` ties a needle to its question; -1 to none."""

    kind: SpanKind
    begin: int
    end: int
    group: int = -1


class Block(NamedTuple):
    """Tokens that enter the cache together; `decoding` marks a generated token."""

    begin: int
    end: int
    decoding: bool = False


@dataclass(frozen=True)
class TraceInfo:
    """The root of a trace: the model that ran."""

    layers: int
    query_heads: int
    kv_heads: int
    head_dim: int
    hidden_size: int
    softmax_scale: float
    element_type: str  #: float32, float16 or bfloat16
    model_id: str = ""
    model_config: str = ""  #: the checkpoint's config.json
    rope: str = "{}"  #: JSON: theta, scaling, rotary_dim, layout, inv_freq
    sliding_window: tuple[int | None, ...] = ()  #: per layer; None = full attention
    producer: str = ""
    created_utc: str = ""
    fingerprint: str = ""  #: 32 hexadecimal digits; the writer computes it
    schema: str = "1.0"
    complete: bool = True

    @property
    def group(self) -> int:
        """Query heads that read one KV head."""
        return self.query_heads // self.kv_heads

    def rope_values(self) -> dict[str, Any]:
        """What is known of the rotary embedding."""
        values: dict[str, Any] = json.loads(self.rope)
        return values


def _none(dtype: Any, *shape: int) -> Any:
    return field(default_factory=lambda: np.zeros(shape, dtype))


@dataclass(frozen=True, eq=False)
class SequenceInfo:
    """One recorded sequence without its tensors."""

    tokens: Int32  #: [T] ids fed to the model
    prompt_len: int  #: tokens before the first generated one
    context_len: int  #: where the question begins
    text: bytes = b""  #: of all tokens, UTF-8
    text_offsets: Int64 = _none(np.int64, 1)  #: [T + 1]
    spans: Sequence[Span] = ()
    query_positions: Int32 = _none(np.int32, 0)  #: [Tq], rising
    logits_top: Float32 = _none(np.float32, 0, 0)  #: [G, K], row g produced token prompt_len + g
    logits_top_ids: Int32 = _none(np.int32, 0, 0)  #: [G, K]
    replay_chunks: Int32 = _none(np.int32, 0, 4)  #: [n, 4] begin, end, first, count
    task: str = ""
    seed: int = 0
    answer: str = ""  #: what a right answer contains
    generated_text: str = ""
    correct: int = -1  #: 1 right, 0 wrong, -1 not judged
    device: str = ""
    name: str = ""  #: four digits; the writer numbers

    @property
    def length(self) -> int:
        """T."""
        return len(self.tokens)

    @property
    def generated(self) -> int:
        """G."""
        return self.length - self.prompt_len

    @property
    def replayed(self) -> int:
        """Tr, rows of the second pass."""
        return int(self.replay_chunks[-1, 2:].sum()) if len(self.replay_chunks) else 0

    def token_text(self, begin: int, end: int | None = None) -> str:
        """The text of token `begin`, or of tokens `begin` to `end`, excluded."""
        last = begin + 1 if end is None else end
        return self.text[self.text_offsets[begin] : self.text_offsets[last]].decode("utf-8", "replace")

    def positions(self, kind: SpanKind) -> Int32:
        """Positions of all tokens in spans of one kind, rising."""
        chosen = [np.arange(span.begin, span.end, dtype=np.int32) for span in self.spans if span.kind == kind]
        return np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.int32)


@dataclass(frozen=True)
class DecisionInfo:
    """The root of a decision file: a policy and what it was asked."""

    trace_fingerprint: str
    policy: str
    parameters: str = "{}"  #: JSON object, sorted keys, no spaces
    budget: str = ""
    schedule: str = "prefill"
    query_source: str = "agnostic"
    loop: str = "replay"
    seed: int = 0
    producer: str = ""
    fingerprint: str = ""
    schema: str = "1.0"
    complete: bool = True

    def parameter_values(self) -> dict[str, Any]:
        """Every parameter with the value used."""
        values: dict[str, Any] = json.loads(self.parameters)
        return values


@dataclass(frozen=True, eq=False)
class Merged:
    """Entries of a layer that took others in, and what they became."""

    entries: Int32  #: [n, 3] kv_head, position, block
    keys: Float32  #: [n, D] after rotary embedding
    values: Float32  #: [n, D]


@dataclass(frozen=True, eq=False)
class LayerFate:
    """What became of every token of one layer."""

    evicted_at: Int32  #: [Hk, T] block at whose end the token left; -1 = never
    merged_into: Int32  #: [Hk, T] position of the entry that took it in; -1 = none
    scores: Float32 | None = None  #: [Hk, T]
    merged: Merged | None = None


@dataclass(frozen=True)
class DecisionSequenceInfo:
    """One sequence of a decision file without its arrays."""

    name: str
    blocks: tuple[Block, ...]
    kept_tokens: int
    kept_bytes: int
    full_bytes: int
