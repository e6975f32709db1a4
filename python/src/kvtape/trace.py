"""Reading traces: `kvtape.open("run.kvtape.h5").sequences[0].layers[3].keys`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kvtape.errors import FormatError
from kvtape.input import InputArray, InputGroup
from kvtape.numbers import Array
from kvtape.opened import OpenFile
from kvtape.records import SequenceInfo, Span, SpanKind, TraceInfo
from kvtape.root import read_complete, read_fingerprint, read_version, sequence_names
from kvtape.schema import (
    LAYER_TENSORS,
    SEQUENCE_ATTRIBUTES,
    TRACE_ATTRIBUTES,
    TRACE_MARK,
    Tensor,
    layer_name,
)
from kvtape.validate import parse_windows, validate_sequence, validate_trace


class Layer:
    """The tensors of one layer of one sequence, read when asked for.

    Elements come as float32, float16 or `ml_dtypes.bfloat16`, as they are stored; the optional
    tensors are None where they were not recorded.
    """

    def __init__(self, group: InputGroup, info: TraceInfo, sizes: Mapping[str, int]) -> None:
        self._group = group
        self._info = info
        self._sizes = sizes

    def __contains__(self, name: str) -> bool:
        return any(tensor.name == name for tensor in LAYER_TENSORS) and self._group.has(name)

    def names(self) -> list[str]:
        """The tensors that were recorded."""
        return [tensor.name for tensor in LAYER_TENSORS if tensor.required or tensor.name in self]

    def read(self, name: str) -> Array:
        """One tensor by its name in the file."""
        known = [tensor for tensor in LAYER_TENSORS if tensor.name == name]
        if not known:
            names = ", ".join(tensor.name for tensor in LAYER_TENSORS)
            raise FormatError(f"reading {self._group.path}: no tensor is called {name}; there are {names}")
        return self.open(known[0]).read()

    def open(self, tensor: Tensor) -> InputArray:
        """One tensor, its type and shape checked, nothing read yet."""
        kind = self._info.element_type if tensor.stored == "element" else tensor.stored
        shape = tuple(self._sizes[axis] for axis in tensor.axes)
        return self._group.array(tensor.name).expect(kind, shape)

    def _optional(self, name: str) -> Array | None:
        return self.read(name) if self._group.has(name) else None

    @property
    def keys(self) -> Array:
        """[Hk, T, D] as cached, after rotary embedding."""
        return self.read("keys")

    @property
    def values(self) -> Array:
        """[Hk, T, D] as cached."""
        return self.read("values")

    @property
    def queries(self) -> Array:
        """[Hq, Tq, D] at `query_positions`, after rotary embedding, not scaled."""
        return self.read("queries")

    @property
    def outputs(self) -> Array:
        """[Hq, Tq, D] of attention, before the output projection."""
        return self.read("outputs")

    @property
    def logsumexp(self) -> Array:
        """[Hq, Tq] float32, natural logarithm of the softmax denominators."""
        return self.read("logsumexp")

    @property
    def column_sums(self) -> Array:
        """[Hq, T] float32, attention of all context queries together."""
        return self.read("column_sums")

    @property
    def attention(self) -> Array | None:
        """[Hq, Tq, T] float32, the softmax rows."""
        return self._optional("attention")

    @property
    def query_mean(self) -> Array | None:
        """[Hq, D] float32, of the context's queries before rotary embedding."""
        return self._optional("query_mean")

    @property
    def query_covariance(self) -> Array | None:
        """[Hq, D, D] float32, of the context's queries before rotary embedding."""
        return self._optional("query_covariance")


class Sequence(SequenceInfo):
    """One recorded sequence: `SequenceInfo` and its layers."""

    _group: InputGroup
    _trace: TraceInfo

    @property
    def layers(self) -> list[Layer]:
        """All layers, first to last."""
        info = self._trace
        sizes = {
            "Hq": info.query_heads,
            "Hk": info.kv_heads,
            "D": info.head_dim,
            "T": self.length,
            "Tq": len(self.query_positions),
            "Tr": self.replayed,
        }
        layers = self._group.group("layers")
        return [Layer(layers.group(layer_name(index)), info, sizes) for index in range(info.layers)]


class Trace(OpenFile):
    """An open trace. A context manager; everything is read when asked for."""

    info: TraceInfo

    def _read_root(self, root: InputGroup, partial: bool) -> None:
        read_version(root, TRACE_MARK)
        self.info = _read_info(root, read_complete(root, partial))
        self._names = _finished(root, self.info)
        self._sequences: list[Sequence] | None = None

    @property
    def sequences(self) -> list[Sequence]:
        """All sequences; of an unfinished file those that were finished."""
        if self._sequences is None:
            group = self._file.root.group("sequences") if self._names else self._file.root
            self._sequences = [_read_sequence(group.group(name), self.info) for name in self._names]
        return self._sequences

    def output_projection(self, layer: int) -> Array | None:
        """[hidden_size, Hq * D], the matrix behind attention, or None where it was not recorded."""
        group = self._file.root
        for name in ("model", "layers", layer_name(layer)):
            if not group.has(name):
                return None
            group = group.group(name)
        if not group.has("output_projection"):
            return None
        shape = (self.info.hidden_size, self.info.query_heads * self.info.head_dim)
        return group.array("output_projection").expect(self.info.element_type, shape).read()


def _read_info(root: InputGroup, complete: bool) -> TraceInfo:
    found = {name: root.attribute(name, kind) for name, kind in TRACE_ATTRIBUTES.items()}
    try:
        found["sliding_window"] = parse_windows(found["sliding_window"])
        info = TraceInfo(
            **found,
            producer=root.text("producer"),
            fingerprint=read_fingerprint(root, complete),
            schema=root.text(TRACE_MARK),
            complete=complete,
        )
        validate_trace(info)
    except FormatError as error:
        if str(error).startswith(root.file.name):
            raise
        raise FormatError(f"{root.file.name}: {error}") from None
    return info


def _finished(root: InputGroup, info: TraceInfo) -> list[str]:
    names = sequence_names(root, gapless=info.complete)
    if info.complete:
        return names
    return [name for name in names if _is_finished(root.group("sequences").group(name), info.layers)]


def _is_finished(group: InputGroup, layers: int) -> bool:
    arrays = ("tokens", "text", "text_offsets", "spans", "query_positions", "logits_top", "logits_top_ids")
    if not all(group.has_attribute(name) for name in SEQUENCE_ATTRIBUTES):
        return False
    if not all(group.has(name) for name in (*arrays, "layers")):
        return False
    parent = group.group("layers")
    return all(
        parent.has(layer_name(index))
        and all(
            parent.group(layer_name(index)).has(tensor.name) for tensor in LAYER_TENSORS if tensor.required
        )
        for index in range(layers)
    )


def _read_sequence(group: InputGroup, info: TraceInfo) -> Sequence:
    found = {name: group.attribute(name, kind) for name, kind in SEQUENCE_ATTRIBUTES.items()}
    spans = group.array("spans").expect("int32", (None, 4)).read().tolist()
    text = group.array("text").expect("uint8", (None,)).read().tobytes()
    chunks = np.zeros((0, 4), np.int32)
    if group.has("replay_chunks"):
        chunks = group.array("replay_chunks").expect("int32", (None, 4)).read()
    known = set(SpanKind)
    sequence = Sequence(
        **found,
        name=group.path.rsplit("/", 1)[1],
        tokens=group.array("tokens").expect("int32", (None,)).read(),
        text=text,
        text_offsets=group.array("text_offsets").expect("int64", (None,)).read(),
        spans=tuple(Span(SpanKind(kind) if kind in known else kind, *rest) for kind, *rest in spans),
        query_positions=group.array("query_positions").expect("int32", (None,)).read(),
        logits_top=group.array("logits_top").expect("float32", (None, None)).read(),
        logits_top_ids=group.array("logits_top_ids").expect("int32", (None, None)).read(),
        replay_chunks=chunks,
    )
    object.__setattr__(sequence, "_group", group)
    object.__setattr__(sequence, "_trace", info)
    try:
        validate_sequence(sequence)
    except FormatError as error:
        raise FormatError(f"{group.file.name}: {group.path} {error}") from None
    return sequence
