"""What a caller gave, refused in one line before any work where it cannot be meant."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from kvtape.errors import UsageError

_MOST_SHOWN = 60


def shown(value: Any) -> str:
    """A value as messages show it."""
    text = ascii(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def expect_text(doing: str, name: str, value: Any) -> None:
    """Refuses what is no str, or holds half of a surrogate pair, which no file can."""
    if not isinstance(value, str):
        raise UsageError(f"{doing}: {name} is {shown(value)}, expected text (str)")
    half = next((at for at, letter in enumerate(value) if "\ud800" <= letter <= "\udfff"), None)
    if half is not None:
        raise UsageError(
            f"{doing}: {name} holds U+{ord(value[half]):04X} at character {half}, half of a surrogate "
            "pair, which is no text; replace it: text.encode('utf-8', 'replace').decode()"
        )


def expect_task(doing: str, value: Any) -> None:
    """Refuses what is no text, and the name that tables keep for themselves."""
    expect_text(doing, "task", value)
    if value == "all":
        raise UsageError(
            f'{doing}: task is "all", which the tables use for all tasks together; give it another name'
        )


def expect_whole(doing: str, name: str, value: Any, most: int) -> None:
    """Refuses what is no whole number from 0 to `most`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value <= most:
        raise UsageError(f"{doing}: {name} is {shown(value)}, expected a whole number from 0 to {most}")


def expect_path(doing: str, name: str, value: Any) -> None:
    """Refuses what names no file."""
    if not isinstance(value, (str, os.PathLike)):
        raise UsageError(f"{doing}: {name} is {shown(value)}, expected a path")


def expect_another_file(doing: str, source: str | os.PathLike[str], out: str | os.PathLike[str]) -> None:
    """Refuses to write into the file that is read, whatever it is called there."""
    for name in (Path(out), Path(f"{os.fspath(out)}.partial")):
        if name.exists() and Path(source).exists() and name.samefile(source):
            raise UsageError(
                f"{doing}: {os.fspath(out)} would take the place of {os.fspath(source)}, which is read; "
                "name another file to write"
            )
