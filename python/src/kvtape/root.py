"""The parts of the root that both files share."""

from __future__ import annotations

import re

from kvtape.input import InputGroup
from kvtape.schema import (
    DECISIONS_MARK,
    MAJOR_VERSION,
    NO_FINGERPRINT,
    SCORES_MARK,
    TRACE_MARK,
    sequence_name,
)

_KINDS = {TRACE_MARK: "trace", DECISIONS_MARK: "decision file"}


def kind_of(root: InputGroup) -> str:
    """`TRACE_MARK` or `DECISIONS_MARK`, whichever the root has."""
    for mark in _KINDS:
        if root.has_attribute(mark):
            return mark
    if root.has_attribute(SCORES_MARK):
        root.fail(
            "is a file of scores (docs/scores-file.md), expected a trace or a decision file; "
            f"kvtape replay TRACE --policy scores:file={root.file.name} reads it"
        )
    root.fail(f"has neither attribute {TRACE_MARK} nor {DECISIONS_MARK}: not a file of kvtape")


def read_version(root: InputGroup, mark: str) -> str:
    """The schema version; another major version than ours is refused."""
    found_mark = kind_of(root)
    if found_mark != mark:
        root.fail(f"is a {_KINDS[found_mark]}, expected a {_KINDS[mark]}")
    version = root.text(mark)
    found = re.fullmatch(r"([0-9]+)\.[0-9]+", version)
    if found is None:
        root.fail(f"has {mark} '{version[:40]}', expected a version such as 1.0")
    if int(found[1]) != MAJOR_VERSION:
        root.fail(f"has schema version {version[:40]}; this kvtape reads version {MAJOR_VERSION}.x")
    return version


def read_complete(root: InputGroup, partial: bool) -> bool:
    """Whether the writer finished; otherwise the file is refused unless `partial`."""
    complete: bool = root.number("complete", "uint8") == 1
    if not complete and not partial:
        root.fail("has complete = 0: its writer did not finish; partial=True reads what there is")
    return complete


def read_fingerprint(root: InputGroup, complete: bool) -> str:
    """What the writer computed."""
    digits = root.text("fingerprint")
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        root.fail(f"has fingerprint '{digits[:40]}', expected 32 hexadecimal digits in lower case")
    if complete and digits == NO_FINGERPRINT:
        root.fail("has a fingerprint of zeros although complete = 1: its writer never computed it")
    return digits


def sequence_names(root: InputGroup, gapless: bool) -> list[str]:
    """Names of the sequences, in order."""
    if not gapless and not root.has("sequences"):
        return []
    group = root.group("sequences")
    names = group.names()
    for index, name in enumerate(names):
        if not re.fullmatch(r"[0-9]{4}", name) or (gapless and name != sequence_name(index)):
            group.fail(f"holds '{name[:40]}', expected {sequence_name(index)}")
    return names
