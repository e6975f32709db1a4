"""Reading decision files: what a policy kept, dropped and merged."""

from __future__ import annotations

import json
import re

import numpy as np
import numpy.typing as npt

from kvtape.errors import FormatError, UsageError
from kvtape.input import InputArray, InputGroup
from kvtape.opened import OpenFile
from kvtape.records import Block, DecisionInfo, DecisionSequenceInfo, Float32, Int32, LayerFate, Merged
from kvtape.root import read_complete, read_fingerprint, read_version, sequence_names
from kvtape.schema import AMOUNTS, DECISIONS_ATTRIBUTES, DECISIONS_MARK
from kvtape.validate import parse_object


class DecisionSequence(DecisionSequenceInfo):
    """One sequence of a decision file."""

    _layers: InputGroup

    @property
    def layers(self) -> list[int]:
        """Numbers of the layers that were replayed, rising."""
        names = self._layers.names()
        for name in names:
            if not re.fullmatch(r"[0-9]{3}", name):
                self._layers.fail(f"holds '{name[:40]}', expected layers named 000, 001, ...")
        return [int(name) for name in names]

    def fate(self, layer: int) -> LayerFate:
        """What became of the tokens of one layer."""
        group = self._layers.group(f"{layer:03}")
        evicted = group.array("evicted_at").expect("int32", (None, None))
        end = self.blocks[-1].end if self.blocks else 0
        if evicted.shape[1] != end:
            evicted.fail(f"has {evicted.shape[1]} tokens, but the blocks end at token {end}")
        scores = (
            group.array("scores").expect("float32", evicted.shape).read() if group.has("scores") else None
        )
        evicted_at = _fates(evicted, len(self.blocks))
        merged_into = _fates(group.array("merged_into").expect("int32", evicted.shape), end)
        merged = _merged(group.group("merged"), evicted_at, self.blocks) if group.has("merged") else None
        return LayerFate(evicted_at, merged_into, scores, merged)

    def kept(self, layer: int, block: int | None = None) -> npt.NDArray[np.bool_]:
        """[Hk, T]: whether a head holds a token after a block, by default after the last one."""
        if not self.blocks:
            raise UsageError(f"reading kept tokens of sequence {self.name}: it has no blocks")
        last = len(self.blocks) - 1 if block is None else block
        if not 0 <= last < len(self.blocks):
            raise UsageError(
                f"reading kept tokens of sequence {self.name}: there is no block {block}, "
                f"expected 0 to {len(self.blocks) - 1}"
            )
        gone = self.fate(layer).evicted_at
        entered = np.arange(gone.shape[1]) < self.blocks[last].end
        held: npt.NDArray[np.bool_] = ((gone == -1) | (gone > last)) & entered
        return held


class Decisions(OpenFile):
    """An open decision file. A context manager; arrays are read when asked for."""

    info: DecisionInfo
    sequences: list[DecisionSequence]

    def _read_root(self, root: InputGroup, partial: bool) -> None:
        read_version(root, DECISIONS_MARK)
        self.info = _read_info(root, read_complete(root, partial))
        self.sequences = _read_sequences(root, self.info.complete)


def _read_info(root: InputGroup, complete: bool) -> DecisionInfo:
    found = {name: root.attribute(name, kind) for name, kind in DECISIONS_ATTRIBUTES.items()}
    try:
        parse_object(found["parameters"], "parameters")
    except (FormatError, json.JSONDecodeError) as error:
        root.fail(f"is refused: {error}")
    return DecisionInfo(
        **found,
        producer=root.text("producer"),
        fingerprint=read_fingerprint(root, complete) if complete else "",
        schema=root.text(DECISIONS_MARK),
        complete=complete,
    )


def _read_sequences(root: InputGroup, complete: bool) -> list[DecisionSequence]:
    found = []
    for name in sequence_names(root, gapless=False):
        group = root.group("sequences").group(name)
        if not complete and not group.has("layers"):
            continue
        amounts = {amount: group.number(amount, kind) for amount, kind in AMOUNTS.items()}
        sequence = DecisionSequence(name=name, blocks=_blocks(group.array("blocks")), **amounts)
        object.__setattr__(sequence, "_layers", group.group("layers"))
        found.append(sequence)
    return found


def _blocks(array: InputArray) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for row, (begin, end, decoding) in enumerate(array.expect("int32", (None, 3)).read().tolist()):
        before = blocks[-1].end if blocks else 0
        if begin != before or end <= begin or decoding not in (0, 1):
            array.fail(
                f"has row {row} = {begin}, {end}, {decoding}; "
                "blocks follow each other from 0 and are marked 0 or 1"
            )
        blocks.append(Block(begin, end, bool(decoding)))
    return tuple(blocks)


def _fates(array: InputArray, bound: int) -> Int32:
    values: Int32 = array.read()
    outside = np.flatnonzero((values < -1) | (values >= bound))
    if len(outside):
        array.fail(f"has element {outside[0]} = {values.flat[outside[0]]}, expected -1 to {bound - 1}")
    return values


def _merged(group: InputGroup, evicted_at: Int32, blocks: tuple[Block, ...]) -> Merged:
    array = group.array("entries")
    entries: Int32 = array.expect("int32", (None, 3)).read()
    before: tuple[int, int, int] | None = None
    for row, (head, position, block) in enumerate(entries.tolist()):
        inside = (
            0 <= head < len(evicted_at) and 0 <= block < len(blocks) and 0 <= position < blocks[block].end
        )
        rising = before is None or before < (block, head, position)
        if not (
            inside and rising and (evicted_at[head, position] == -1 or evicted_at[head, position] > block)
        ):
            array.fail(
                f"has row {row} = {head}, {position}, {block}; rows are KV head, position and block of an "
                "entry that is held after the block, in the order of blocks, heads and positions"
            )
        before = (block, head, position)
    keys, values = (_finite(group.array(name), len(entries)) for name in ("keys", "values"))
    if keys.shape != values.shape:
        group.fail("has keys and values of different widths")
    return Merged(entries, keys, values)


def _finite(array: InputArray, rows: int) -> Float32:
    numbers: Float32 = array.expect("float32", (rows, None)).read()
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        array.fail(f"has element {bad[0]} that is not a finite number")
    return numbers
