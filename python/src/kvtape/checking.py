"""`kvtape check` without the program: every checksum, every shape, the fingerprint."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from kvtape.decisions import Decisions, DecisionSequence
from kvtape.errors import FormatError
from kvtape.hashing import fingerprint_of
from kvtape.input import InputFile
from kvtape.root import kind_of, read_complete, read_version
from kvtape.schema import LAYER_TENSORS, TRACE_MARK
from kvtape.trace import Trace


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    path: str
    kind: str  #: trace or decisions
    complete: bool
    fingerprint: str  #: as the file says
    recomputed: str  #: from its content; empty where something cannot be read
    sequences: int | None
    findings: tuple[str, ...] = field(default=())

    @property
    def clean(self) -> bool:
        """Whether the file is what its writer wrote."""
        return not self.findings


def check(path: str | os.PathLike[str]) -> Report:
    """Reads a trace or a decision file completely.

    What is damaged is listed in the report, one line each; a file that is none of ours, or whose
    parts do not fit each other, is a FormatError.
    """
    findings: list[str] = []
    file = InputFile(path)
    try:
        mark = kind_of(file.root)
        read_version(file.root, mark)
        complete = read_complete(file.root, partial=True)
        stated = file.root.text("fingerprint")
        recomputed = fingerprint_of(file, lambda _, error: findings.append(str(error)))
    finally:
        file.close()
    kind = "trace" if mark == TRACE_MARK else "decisions"
    if findings:
        return Report(file.name, kind, complete, stated, "", None, tuple(findings))
    if not complete:
        findings.append(f"{file.name}: / has complete = 0: its writer did not finish")
    elif recomputed != stated:
        findings.append(f"{file.name}: / has fingerprint {stated}, but its content gives {recomputed}")
    sequences = _read_trace(path) if kind == "trace" else _read_decisions(path, findings)
    return Report(file.name, kind, complete, stated, recomputed, sequences, tuple(findings))


def _read_trace(path: str | os.PathLike[str]) -> int:
    """Shapes and types of every tensor; their checksums were verified by the fingerprint."""
    with Trace(path, partial=True) as trace:
        for sequence in trace.sequences:
            for layer in sequence.layers:
                for tensor in LAYER_TENSORS:
                    if tensor.required or tensor.name in layer:
                        layer.open(tensor)
        for number in range(trace.info.layers):
            trace.output_projection(number)
        return len(trace.sequences)


def _read_decisions(path: str | os.PathLike[str], findings: list[str]) -> int:
    with Decisions(path, partial=True) as decisions:
        for sequence in decisions.sequences:
            for problem in _recount(sequence, decisions.info.schedule):
                findings.append(f"{decisions.path}: /sequences/{sequence.name} {problem}")
        return len(decisions.sequences)


def _last_decision(sequence: DecisionSequence, schedule: str) -> int:
    if schedule == "prefill":
        return 0
    if schedule.endswith("+decode"):
        return len(sequence.blocks) - 1
    return max(0, sum(not block.decoding for block in sequence.blocks) - 1)


def _recount(sequence: DecisionSequence, schedule: str) -> list[str]:
    """What the attributes say against what the layers hold."""
    if not sequence.blocks:
        raise FormatError(f"sequence {sequence.name} has no blocks")
    last = _last_decision(sequence, schedule)
    end = sequence.blocks[last].end
    every = kept = 0
    for layer in sequence.layers:
        gone = sequence.fate(layer).evicted_at[:, :end]
        every += gone.size
        kept += int(np.count_nonzero((gone < 0) | (gone > last)))
    entry = sequence.full_bytes // every if every else 0
    full, step = entry * every, max(1, entry // 2)
    problems = []
    if sequence.kept_tokens != kept:
        problems.append(f"has kept_tokens = {sequence.kept_tokens}, but its layers give {kept}")
    if sequence.full_bytes != full:
        problems.append(f"has full_bytes = {sequence.full_bytes}, but its layers give {full}")
    least, found = entry * kept, sequence.kept_bytes
    if not least <= found <= full or found % step:
        problems.append(f"has kept_bytes = {found}, but its layers give {least} to {full} in steps of {step}")
    return problems
