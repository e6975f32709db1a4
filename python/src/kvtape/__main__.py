"""`python -m kvtape check FILE...`: what `kvtape check` does, without the program."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any

from kvtape.checking import check
from kvtape.errors import FileError, FormatError
from kvtape.version import VERSION


def _check_one(path: str, quiet: bool) -> tuple[int, dict[str, Any]]:
    try:
        report = check(path)
    except (FormatError, FileError) as error:
        print(f"kvtape: {error}", file=sys.stderr)
        return error.exit_code, {"file": path, "clean": False, "error": str(error)}
    if not quiet:
        for finding in report.findings:
            print(finding)
    if report.clean and not quiet:
        print(
            f"{path}: clean {report.kind} file, {report.sequences} sequences, "
            f"fingerprint {report.fingerprint}"
        )
    return 0 if report.clean else 1, dataclasses.asdict(report) | {"clean": report.clean}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code of `kvtape check`."""
    parser = argparse.ArgumentParser(prog="python -m kvtape", description="kvtape's files in Python")
    parser.add_argument("--version", action="version", version=f"kvtape {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True)
    checking = verbs.add_parser("check", help="recomputes every checksum and the fingerprint of files")
    checking.add_argument("files", nargs="+", metavar="FILE")
    checking.add_argument("--json", action="store_true", help="one JSON list on standard output")
    given = parser.parse_args(arguments)
    outcomes = [_check_one(path, given.json) for path in given.files]
    if given.json:
        print(json.dumps([outcome for _, outcome in outcomes]))
    return max(code for code, _ in outcomes)


if __name__ == "__main__":
    sys.exit(main())
