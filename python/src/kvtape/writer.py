"""Writing traces and decision files that `kvtape check` finds clean."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from kvtape.arguments import expect_task, expect_text, expect_whole
from kvtape.errors import FormatError, UsageError
from kvtape.numbers import DTYPES, Array, text_of
from kvtape.output import OutputFile, OutputGroup
from kvtape.records import Block, DecisionInfo, LayerFate, SequenceInfo, TraceInfo
from kvtape.schema import (
    AMOUNTS,
    DECISIONS_ATTRIBUTES,
    DECISIONS_MARK,
    LARGEST_SEED,
    LAYER_TENSORS,
    MOST_SEQUENCES,
    SEQUENCE_ATTRIBUTES,
    TRACE_ATTRIBUTES,
    TRACE_MARK,
    layer_name,
    sequence_name,
)
from kvtape.validate import parse_object, validate_sequence, validate_trace
from kvtape.version import PRODUCER

_KINDS = {"f": "f", "V": "f", "i": "iu", "u": "iu"}


class _Writer:
    """What both writers share: finished at the end of a `with`."""

    _file: OutputFile
    _keeps_partial = True
    fingerprint: str = ""  #: set by `finish`

    def finish(self) -> str:
        """Computes the fingerprint, closes the file, gives it its name; returns the fingerprint."""
        self._file.root.group("sequences")
        self.fingerprint = self._file.finish()
        return self.fingerprint

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            if not self.fingerprint:
                self.finish()
        elif self._keeps_partial:
            self._file.close()
            self._file.release()
        else:
            self._file.discard()


class TraceWriter(_Writer):
    """Writes a trace. An error inside of its `with` leaves `<name>.partial` with what was finished.

    >>> with TraceWriter("run.kvtape.h5", info) as out:
    ...     out.add(sequence, [{"keys": keys, "values": values, ...}, ...])
    """

    def __init__(self, path: str | os.PathLike[str], info: TraceInfo, overwrite: bool = False) -> None:
        """Checks `info`; nothing is there under the name `path` before the file is finished."""
        self.info = info
        self._doing = f"writing {os.fspath(path)}"
        try:
            validate_trace(info)
        except FormatError as error:
            raise UsageError(f"{self._doing}: {error}") from None
        self._file = OutputFile(path, TRACE_MARK, info.producer or PRODUCER, overwrite)
        self._count = 0
        windows = json.dumps(info.sliding_window, separators=(",", ":"))
        created = info.created_utc or f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
        filled = dataclasses.replace(info, created_utc=created)
        for name, kind in TRACE_ATTRIBUTES.items():
            value = windows if name == "sliding_window" else getattr(filled, name)
            self._file.root.attribute(name, kind, value)

    def __enter__(self) -> TraceWriter:
        return self

    def write_output_projection(self, layer: int, weights: npt.ArrayLike) -> None:
        """[hidden_size, Hq * D], the matrix behind attention of one layer."""
        shape = (self.info.hidden_size, self.info.query_heads * self.info.head_dim)
        name = f"output_projection of layer {layer}"
        if not 0 <= layer < self.info.layers:
            raise UsageError(f"{self._doing}: there is no layer {layer}; the model has {self.info.layers}")
        array = as_numbers(f"{self._doing}: {name}", weights, self.info.element_type, shape)
        group = self._file.root.group("model").group("layers").group(layer_name(layer))
        group.array("output_projection", self.info.element_type, array)

    def add(self, sequence: SequenceInfo, layers: Iterable[Mapping[str, npt.ArrayLike]]) -> None:
        """Appends a sequence.

        `layers` gives for each layer, in order, the tensors by name: keys and values [Hk, T, D],
        queries and outputs [Hq, Tq, D], logsumexp [Hq, Tq], column_sums [Hq, T], and what is
        optional. It may be a generator: a layer is written before the next one is asked for.
        """
        doing = f"{self._doing}: sequence {sequence_name(self._count)}"
        if self._count == MOST_SEQUENCES:
            raise UsageError(f"{doing}: a trace holds up to {MOST_SEQUENCES} sequences; write a second one")
        expect_task(doing, sequence.task)
        for name in ("answer", "generated_text", "device"):
            expect_text(doing, name, getattr(sequence, name))
        expect_whole(doing, "seed", sequence.seed, LARGEST_SEED)
        try:
            validate_sequence(sequence)
        except FormatError as error:
            raise UsageError(f"{doing}: {error}") from None
        group = self._file.root.group("sequences").group(sequence_name(self._count))
        for name, kind in SEQUENCE_ATTRIBUTES.items():
            group.attribute(name, kind, getattr(sequence, name))
        _write_lists(doing, group, sequence)
        written = 0
        for written, tensors in enumerate(layers, 1):
            if written > self.info.layers:
                break
            self._write_layer(
                f"{doing}: layer {layer_name(written - 1)}", group, sequence, written - 1, tensors
            )
        if written != self.info.layers:
            raise UsageError(f"{doing}: found {written} layers, expected {self.info.layers}")
        self._file.settle()
        self._count += 1

    def _write_layer(
        self,
        doing: str,
        group: OutputGroup,
        sequence: SequenceInfo,
        number: int,
        tensors: Mapping[str, npt.ArrayLike],
    ) -> None:
        info = self.info
        sizes = {"Hq": info.query_heads, "Hk": info.kv_heads, "D": info.head_dim}
        sizes |= {"T": sequence.length, "Tq": len(sequence.query_positions), "Tr": sequence.replayed}
        unknown = set(tensors) - {tensor.name for tensor in LAYER_TENSORS}
        if unknown:
            known = ", ".join(tensor.name for tensor in LAYER_TENSORS)
            raise UsageError(f"{doing}: no tensor is called {sorted(unknown)[0]}; there are {known}")
        out = group.group("layers").group(layer_name(number))
        for tensor in LAYER_TENSORS:
            if tensor.name in tensors:
                kind = info.element_type if tensor.stored == "element" else tensor.stored
                shape = tuple(sizes[axis] for axis in tensor.axes)
                values = as_numbers(f"{doing}: {tensor.name}", tensors[tensor.name], kind, shape)
                out.array(tensor.name, kind, values, heads=True)
            elif tensor.required:
                raise UsageError(f"{doing}: there is no {tensor.name}")


class DecisionWriter(_Writer):
    """Writes a decision file. An error inside of its `with` leaves nothing."""

    _keeps_partial = False

    def __init__(self, path: str | os.PathLike[str], info: DecisionInfo, overwrite: bool = False) -> None:
        self.info = info
        self._doing = f"writing {os.fspath(path)}"
        try:
            parse_object(info.parameters, "parameters")
        except FormatError as error:
            raise UsageError(f"{self._doing}: {error}") from None
        self._file = OutputFile(path, DECISIONS_MARK, info.producer or PRODUCER, overwrite)
        for name, kind in DECISIONS_ATTRIBUTES.items():
            self._file.root.attribute(name, kind, getattr(info, name))

    def __enter__(self) -> DecisionWriter:
        return self

    def add(
        self,
        name: str,
        blocks: Sequence[Block],
        amounts: Mapping[str, int],
        layers: Mapping[int, LayerFate],
    ) -> None:
        """Appends the sequence `name` of the trace; `amounts` holds kept_tokens, kept_bytes, full_bytes."""
        doing = f"{self._doing}: sequence {name}"
        group = self._file.root.group("sequences").group(name)
        for amount, kind in AMOUNTS.items():
            group.attribute(amount, kind, amounts[amount])
        rows = np.array([(block.begin, block.end, block.decoding) for block in blocks], "<i4")
        group.array("blocks", "int32", rows.reshape(-1, 3))
        end = blocks[-1].end if blocks else 0
        for layer, fate in layers.items():
            shape = (len(fate.evicted_at), end)
            out = group.group("layers").group(layer_name(layer))
            for kind, part in (("int32", "evicted_at"), ("int32", "merged_into"), ("float32", "scores")):
                if getattr(fate, part) is not None:
                    values = as_numbers(f"{doing}: {part}", getattr(fate, part), kind, shape)
                    out.array(part, kind, values, heads=True)
            if fate.merged is not None and len(fate.merged.entries):
                merged = out.group("merged")
                merged.array("entries", "int32", as_numbers(doing, fate.merged.entries, "int32"))
                merged.array("keys", "float32", as_numbers(doing, fate.merged.keys, "float32"))
                merged.array("values", "float32", as_numbers(doing, fate.merged.values, "float32"))
        self._file.settle()


def _write_lists(doing: str, group: OutputGroup, sequence: SequenceInfo) -> None:
    def put(name: str, kind: str, values: Any) -> None:
        group.array(name, kind, as_numbers(f"{doing}: {name}", values, kind))

    put("logits_top", "float32", sequence.logits_top)
    put("logits_top_ids", "int32", sequence.logits_top_ids)
    put("query_positions", "int32", sequence.query_positions)
    if len(sequence.replay_chunks):
        put("replay_chunks", "int32", sequence.replay_chunks)
    put("spans", "int32", np.array([tuple(span) for span in sequence.spans], "<i4").reshape(-1, 4))
    put("text", "uint8", np.frombuffer(sequence.text, np.uint8))
    put("text_offsets", "int64", sequence.text_offsets)
    put("tokens", "int32", sequence.tokens)


def as_numbers(doing: str, values: npt.ArrayLike, kind: str, shape: tuple[int, ...] | None = None) -> Array:
    """`values` in the type `kind`; another shape, or numbers that do not fit, are refused."""
    array = np.asarray(values)
    wanted = DTYPES[kind]
    if shape is not None and array.shape != shape:
        raise UsageError(f"{doing} has shape {text_of(array.shape)}, expected {text_of(shape)}")
    if array.dtype == wanted:
        return array
    if array.dtype.kind not in _KINDS.get(wanted.kind, "") or not _is_plain(array):
        raise UsageError(f"{doing} holds {array.dtype}, expected {kind}")
    converted = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(converted, array):
        raise UsageError(f"{doing} holds numbers that {kind} cannot hold")
    return converted


def _is_plain(array: Array) -> bool:
    return array.dtype.kind != "V" or array.dtype == DTYPES["bfloat16"]
