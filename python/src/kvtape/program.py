"""The program kvtape from Python: `run(["replay", ...]).tables["summary"]`."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from kvtape.errors import KvtapeError, UsageError, system_reason

if TYPE_CHECKING:
    import pandas

_OWN_COPY = Path(__file__).parent / "bin" / "kvtape"
#: Columns that are text even where every value of a table looks like a number.
_TEXT_COLUMNS = ("answer", "budget", "file", "generated_text", "parameters", "policy", "sequence", "text")
_A_CHECK_FOUND_SOMETHING = 1


class ProgramError(KvtapeError):
    """The program refused or failed; its own line says why."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Tables(Mapping[str, "pandas.DataFrame"]):
    """The CSV tables of a folder by name, each read when asked for."""

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self._paths = {} if self.folder is None else {p.stem: p for p in sorted(self.folder.glob("*.csv"))}

    def __getitem__(self, name: str) -> pandas.DataFrame:
        if name not in self._paths:
            there = ", ".join(self._paths) or "none"
            raise KeyError(f"no table {name} in {self.folder}; there are {there}")
        module = _pandas()
        # Older ones lose the last bit of a number unless told not to; newer ones warn when told.
        older = tuple(map(int, module.__version__.split(".")[:2])) < (3, 1)
        exact = {"float_precision": "round_trip"} if older else {}
        return module.read_csv(self._paths[name], dtype=dict.fromkeys(_TEXT_COLUMNS, str), **exact)

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True)
class Run:
    """What a call of the program left."""

    arguments: tuple[str, ...]
    code: int  #: 0, or 1 when a check found a difference or damage
    stdout: str
    stderr: str
    tables: Tables  #: of the folder the call wrote into

    def json(self) -> Any:
        """Standard output of a call with `--json`."""
        try:
            return json.loads(self.stdout)
        except ValueError:
            raise UsageError(
                f"reading what {' '.join(self.arguments)} printed: it is not JSON; call it with --json"
            ) from None


def find_program(program: str | os.PathLike[str] | None = None) -> str:
    """The argument, what KVTAPE names, the wheel's own copy, or `kvtape` on PATH."""
    for named, where in ((program, "program"), (os.environ.get("KVTAPE"), "KVTAPE")):
        if named is not None:
            found = shutil.which(named)
            if found is None:
                raise UsageError(
                    f"looking for the program kvtape: {where} names {named}, which is no program"
                )
            return found
    if _OWN_COPY.is_file():
        return str(_OWN_COPY)
    found = shutil.which("kvtape")
    if found is None:
        raise UsageError(
            "looking for the program kvtape: it is not on PATH; build it (./dev build) and let KVTAPE name it"
        )
    return found


def main() -> NoReturn:
    """The command `kvtape` of an installed wheel: its own copy, which takes the place of Python."""
    try:
        os.execv(_OWN_COPY, ["kvtape", *sys.argv[1:]])
    except OSError as error:
        sys.exit(f"kvtape: starting {_OWN_COPY}: {system_reason(error)}; install the package again")


def run(
    arguments: Sequence[str | os.PathLike[str] | int | float],
    program: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Run:
    """Calls `kvtape ARGUMENTS...` and waits for its end.

    `tables` of what is returned are those of the folder after `--out`, or of the folder that was
    named. With `progress` the program's messages go to standard error while it runs. A ProgramError
    carries the program's line and exit code; exit code 1, a check that found something, is none.
    """
    words = tuple(os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in arguments)
    command = [find_program(program), *words]
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=None if progress else subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise UsageError(f"running {command[0]}: {system_reason(error)}") from None
    messages = (done.stderr or "").strip()
    if done.returncode not in (0, _A_CHECK_FOUND_SOMETHING):
        last = messages.splitlines()[-1] if messages else f"it ended with exit code {done.returncode}"
        raise ProgramError(f"running kvtape {' '.join(words)}: {last}", done.returncode)
    return Run(words, done.returncode, done.stdout, messages, Tables(_folder(words)))


def _folder(words: tuple[str, ...]) -> Path | None:
    """The folder a call is about."""
    named = [word for word in words[1:] if not word.startswith("-")]
    named += [after for word, after in itertools.pairwise(words) if word == "--out"]
    named += [word.partition("=")[2] for word in words if word.startswith("--out=")]
    folders = [Path(word) for word in named if Path(word).is_dir()]
    return folders[-1] if folders else None


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise UsageError("reading a table: pandas is not installed; pip install pandas") from None
