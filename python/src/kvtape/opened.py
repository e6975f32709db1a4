"""What traces and decision files have in common while they are open."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from kvtape.input import InputFile, InputGroup
from kvtape.records import DecisionInfo, TraceInfo

_Opened = TypeVar("_Opened", bound="OpenFile")


class OpenFile(ABC):
    """An open file of either kind. A context manager; arrays are read when asked for."""

    info: TraceInfo | DecisionInfo
    path: str

    def __init__(self, path: str | os.PathLike[str], partial: bool = False) -> None:
        self._file = InputFile(path)
        self.path = self._file.name
        try:
            self._read_root(self._file.root, partial)
        except BaseException:
            self._file.close()
            raise

    @abstractmethod
    def _read_root(self, root: InputGroup, partial: bool) -> None:
        """Reads `info` and whatever is refused at once; `partial` accepts an unfinished file."""

    def __enter__(self: _Opened) -> _Opened:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Arrays that were read stay."""
        self._file.close()

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits, as the writer computed them."""
        return self.info.fingerprint
