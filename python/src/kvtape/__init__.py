"""kvtape in Python: its two files, policies as functions, and the program itself.

>>> import kvtape
>>> with kvtape.open("run.kvtape.h5") as trace:
...     for sequence in trace.sequences:
...         print(sequence.task, sequence.layers[0].keys.shape)  # [Hk, T, D]
"""

from __future__ import annotations

import os

from kvtape.checking import Report, check
from kvtape.decisions import Decisions, DecisionSequence
from kvtape.errors import FileError, FormatError, KvtapeError, UsageError
from kvtape.hashing import fingerprint
from kvtape.input import InputFile
from kvtape.program import ProgramError, Run, Tables, run
from kvtape.recording import record
from kvtape.records import (
    Block,
    DecisionInfo,
    LayerFate,
    Merged,
    SequenceInfo,
    Span,
    SpanKind,
    TraceInfo,
)
from kvtape.root import kind_of
from kvtape.schema import TRACE_MARK
from kvtape.scoring import score
from kvtape.trace import Layer, Sequence, Trace
from kvtape.version import VERSION as __version__
from kvtape.writer import DecisionWriter, TraceWriter

__all__ = [
    "Block",
    "DecisionInfo",
    "DecisionSequence",
    "DecisionWriter",
    "Decisions",
    "FileError",
    "FormatError",
    "KvtapeError",
    "Layer",
    "LayerFate",
    "Merged",
    "ProgramError",
    "Report",
    "Run",
    "Sequence",
    "SequenceInfo",
    "Span",
    "SpanKind",
    "Tables",
    "Trace",
    "TraceInfo",
    "TraceWriter",
    "UsageError",
    "__version__",
    "check",
    "fingerprint",
    "open",
    "record",
    "run",
    "score",
]


def open(path: str | os.PathLike[str], partial: bool = False) -> Trace | Decisions:
    """Opens a trace or a decision file, whichever it is.

    `partial` also takes a file whose writer did not finish, with the sequences that were. Checksums
    are verified as data is read; `check` also recomputes the fingerprint.
    """
    file = InputFile(path)
    try:
        mark = kind_of(file.root)
    finally:
        file.close()
    return Trace(path, partial) if mark == TRACE_MARK else Decisions(path, partial)
