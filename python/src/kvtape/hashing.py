"""The fingerprint of a file: XXH3-128 over its content in a fixed order (docs/trace-format.md, 4)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import xxhash

from kvtape.errors import FormatError
from kvtape.input import InputArray, InputFile, InputGroup, utf8
from kvtape.schema import NOT_HASHED

_DEEPEST = 16
#: Is told the path of an array that cannot be read, and why.
Damaged = Callable[[str, FormatError], None]


def _raise(_: str, error: FormatError) -> None:
    raise error


def _groups(group: InputGroup, seen: set[tuple[int, int]], depth: int = 0) -> list[InputGroup]:
    if depth > _DEEPEST:
        group.fail(f"is nested deeper than {_DEEPEST} groups")
    if group.address() in seen:
        group.fail("is a group that another path also reaches")
    seen.add(group.address())
    found = [group]
    for name in group.names():
        if group.is_group(name):
            found += _groups(group.group(name), seen, depth + 1)
    return found


def _add_attributes(group: InputGroup, state: xxhash.xxh3_128) -> None:
    for name in group.attribute_names():
        if name not in NOT_HASHED:
            head = utf8(group.path) + b"\0" + utf8(name) + b"\0"
            state.update(head + group.raw_attribute(name) + b"\0")


def _add_array(array: InputArray, state: xxhash.xxh3_128) -> None:
    state.update(utf8(array.path) + b"\0")
    state.update(struct.pack(f"<{1 + len(array.shape)}q", len(array.shape), *array.shape))
    for piece in array.raw_pieces():
        state.update(piece)


def fingerprint_of(file: InputFile, damaged: Damaged = _raise) -> str:
    """32 hexadecimal digits; reads everything. An array that cannot be read is told to `damaged`."""
    state = xxhash.xxh3_128()
    groups = sorted(_groups(file.root, set()), key=lambda group: utf8(group.path))
    for group in groups:
        _add_attributes(group, state)
        for name in group.names():
            if group.is_group(name):
                continue
            try:
                _add_array(group.array(name), state)
            except FormatError as error:
                damaged(group.child_path(name), error)
    return state.hexdigest()


def fingerprint(path: str | os.PathLike[str]) -> str:
    """What the content of a file gives, whatever its attribute `fingerprint` says."""
    file = InputFile(path)
    try:
        return fingerprint_of(file)
    finally:
        file.close()
