"""What goes wrong, in one line each: what was being done, to what, found, expected, what to do."""

from __future__ import annotations


class KvtapeError(Exception):
    """Every error that this package raises on purpose."""

    exit_code = 70


class UsageError(KvtapeError, ValueError):
    """A call that asks for something that cannot be."""

    exit_code = 2


class FormatError(KvtapeError, ValueError):
    """A file whose content is not what docs/trace-format.md describes."""

    exit_code = 3


class FileError(KvtapeError, OSError):
    """A file that cannot be opened, read or written."""

    exit_code = 4


def first_line(error: BaseException) -> str:
    """What another library says, cut to one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def system_reason(error: OSError) -> str:
    """The operating system's words, without its number and the name of the file."""
    return error.strerror or first_line(error)
