"""What a file must hold to mean something; reader and writer ask the same questions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from kvtape.errors import FormatError
from kvtape.records import SequenceInfo, SpanKind, TraceInfo
from kvtape.schema import ELEMENT_TYPES, MOST_LAYERS

_LARGEST_COUNT = 1 << 20


def _expect_range(value: int, least: int, most: int, name: str) -> None:
    if not least <= value <= most:
        raise FormatError(f"{name} is {value}, expected {least} to {most}")


def parse_object(text: str, name: str) -> dict[str, Any]:
    """A JSON object without double keys."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise FormatError(f"{name} holds a key twice")
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except ValueError as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{name} is not a JSON object")
    return value


def parse_windows(text: str) -> tuple[int | None, ...]:
    """`[null,4096]` as a tuple."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise FormatError(f"sliding_window is not JSON: {error}") from None
    if not isinstance(value, list):
        raise FormatError("sliding_window is not a JSON list")
    if any(entry is not None and type(entry) is not int for entry in value):
        raise FormatError("sliding_window holds something else than token counts and null")
    return tuple(value)


def _is_frequency(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _validate_rope(rope: dict[str, Any], head_dim: int) -> None:
    def refuse(name: str, expected: str) -> None:
        raise FormatError(f"rope has {name} {json.dumps(rope[name])[:40]}, expected {expected}")

    if "theta" in rope and not (_is_frequency(rope["theta"]) and rope["theta"] > 0):
        refuse("theta", "a positive number")
    if "layout" in rope and rope["layout"] not in ("half", "interleaved"):
        refuse("layout", "half or interleaved")
    rotated = rope.get("rotary_dim", head_dim)
    if type(rotated) is not int or not 0 <= rotated <= head_dim or rotated % 2:
        if "rotary_dim" in rope:
            refuse("rotary_dim", f"an even number up to {head_dim}")
    elif "inv_freq" in rope:
        frequencies = rope["inv_freq"]
        if not isinstance(frequencies, list) or len(frequencies) != rotated // 2:
            refuse("inv_freq", f"a list of {rotated // 2} numbers")
        if not all(_is_frequency(frequency) for frequency in frequencies):
            refuse("inv_freq", "numbers that are not negative")


def validate_trace(info: TraceInfo) -> None:
    """Refuses a root that no model can have."""
    _expect_range(info.layers, 1, MOST_LAYERS, "layers")
    for name in ("query_heads", "kv_heads", "head_dim", "hidden_size"):
        _expect_range(getattr(info, name), 1, _LARGEST_COUNT, name)
    if info.query_heads % info.kv_heads:
        raise FormatError(
            f"query_heads is {info.query_heads}, expected a multiple of the {info.kv_heads} kv_heads"
        )
    if not math.isfinite(info.softmax_scale) or info.softmax_scale <= 0:
        raise FormatError(f"softmax_scale is {info.softmax_scale}, expected a positive number")
    if info.element_type not in ELEMENT_TYPES:
        raise FormatError(
            f"element_type is '{info.element_type[:40]}', expected float32, float16 or bfloat16"
        )
    _validate_rope(parse_object(info.rope, "rope"), info.head_dim)
    if len(info.sliding_window) != info.layers:
        raise FormatError(f"sliding_window has {len(info.sliding_window)} entries, expected {info.layers}")
    for window in info.sliding_window:
        if window is not None and window < 1:
            raise FormatError(f"sliding_window holds {window}, expected a positive number or null")


def _validate_text(sequence: SequenceInfo) -> None:
    offsets, length = sequence.text_offsets, sequence.length
    if len(offsets) != length + 1:
        raise FormatError(f"text_offsets has {len(offsets)} entries, expected {length + 1}")
    if offsets[0] != 0 or offsets[-1] != len(sequence.text):
        raise FormatError(
            f"text_offsets run from {offsets[0]} to {offsets[-1]}, expected 0 to {len(sequence.text)}"
        )
    falls = np.flatnonzero(offsets[1:] < offsets[:-1])
    if len(falls):
        raise FormatError(f"text_offsets fall at token {falls[0] + 1}, expected them to rise")


def _validate_spans(sequence: SequenceInfo) -> None:
    for row, span in enumerate(sequence.spans):
        _expect_range(span.kind, 0, max(SpanKind), f"spans row {row} kind")
        if not 0 <= span.begin <= span.end <= sequence.length:
            raise FormatError(f"spans row {row} is tokens {span.begin} to {span.end} of {sequence.length}")
        if span.group < -1:
            raise FormatError(f"spans row {row} has group {span.group}, expected -1 or more")


def _validate_positions(sequence: SequenceInfo) -> None:
    before = -1
    for position in sequence.query_positions.tolist():
        if not before < position < sequence.length:
            raise FormatError(
                f"query_positions hold {position} after {before}, "
                f"expected rising positions below {sequence.length}"
            )
        before = position


def _validate_logits(sequence: SequenceInfo) -> None:
    width = sequence.logits_top.shape[1]
    for name in ("logits_top", "logits_top_ids"):
        shape = getattr(sequence, name).shape
        if shape != (sequence.generated, width):
            raise FormatError(f"{name} has shape {shape}, expected {(sequence.generated, width)}")
    if np.isnan(sequence.logits_top).any():
        raise FormatError("logits_top hold NaN, expected numbers")
    if (sequence.logits_top_ids < 0).any():
        raise FormatError("logits_top_ids hold negative numbers, expected no negative id")


def _validate_replay(sequence: SequenceInfo) -> None:
    end = row = 0
    for begin, stop, first, count in sequence.replay_chunks.tolist():
        if begin != end or stop <= begin or first != row or count < 1:
            raise FormatError(
                f"replay_chunks hold tokens {begin} to {stop} with {count} rows from row {first}, "
                "expected pieces that follow each other from 0 on"
            )
        end, row = stop, first + count
    if len(sequence.replay_chunks) and end != sequence.context_len:
        raise FormatError(
            f"replay_chunks end at token {end}, expected the end of the context, {sequence.context_len}"
        )


def validate_sequence(sequence: SequenceInfo) -> None:
    """Refuses a sequence whose parts do not fit each other."""
    if not sequence.length:
        raise FormatError("tokens are empty, expected at least one")
    _expect_range(sequence.prompt_len, 0, sequence.length, "prompt_len")
    _expect_range(sequence.context_len, 0, sequence.prompt_len, "context_len")
    _expect_range(sequence.correct, -1, 1, "correct")
    if (sequence.tokens < 0).any():
        raise FormatError(f"tokens hold {sequence.tokens.min()}, expected no negative id")
    _validate_text(sequence)
    _validate_spans(sequence)
    _validate_positions(sequence)
    _validate_logits(sequence)
    _validate_replay(sequence)
