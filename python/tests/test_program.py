"""`kvtape.run` over the built program."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import kvtape
import pytest
from conftest import ROOT, Program
from kvtape import program as module


@pytest.fixture(autouse=True)
def _built(program: Program) -> None:
    """These tests run the program, too."""


def test_replay_returns_its_tables(recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    policies = ["--policy", "snapkv", "--policy", "random", "--budget", "0.1,0.25"]
    done = kvtape.run(["replay", recording, *policies, "--out", tmp_path / "out", "--threads", 1])
    assert done.code == 0 and "snapkv" in done.stdout
    assert {"index", "recall", "summary"} <= set(done.tables)
    summary = done.tables["summary"]
    with (tmp_path / "out" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(summary) == len(rows)
    assert summary["budget"].tolist() == [row["budget"] for row in rows]
    assert summary["needle_recall"].tolist() == [float(row["needle_recall"]) for row in rows]
    with pytest.raises(KeyError, match=r"no table curve in .*; there are index, "):
        done.tables["curve"]


def test_analyze_and_json(recording: Path, replayed: Path) -> None:
    assert "damage" in kvtape.run(["analyze", replayed, "--trace", recording]).tables
    assert kvtape.run(["check", recording, "--json"]).json()[0]["clean"] is True
    with pytest.raises(kvtape.UsageError, match="it is not JSON; call it with --json"):
        kvtape.run(["check", recording]).json()


def test_a_refusal_is_one_line_with_its_exit_code(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(kvtape.ProgramError, match="snapvk") as caught:
        kvtape.run(["replay", recording, "--policy", "snapvk", "--budget", "10%", "--out", tmp_path])
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_a_difference_is_no_error(replayed: Path) -> None:
    files = [next(replayed.glob(f"{policy}@*")) for policy in ("full", "snapkv")]
    done = kvtape.run(["diff", *files])
    assert done.code == 1 and "identical no" in done.stdout


def test_the_program_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(kvtape.UsageError, match="program names /nowhere, which is no program"):
        kvtape.run(["--version"], program="/nowhere")
    monkeypatch.setenv("KVTAPE", "/nowhere/else")
    with pytest.raises(kvtape.UsageError, match="KVTAPE names /nowhere/else"):
        kvtape.run(["--version"])
    monkeypatch.delenv("KVTAPE")
    monkeypatch.setattr(module, "_OWN_COPY", tmp_path / "kvtape")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(kvtape.UsageError, match="it is not on PATH; build it"):
        kvtape.run(["--version"])
    (tmp_path / "kvtape").write_text("#!/bin/sh\necho own copy\n")
    (tmp_path / "kvtape").chmod(0o755)
    assert kvtape.run(["--version"]).stdout == "own copy\n"


def test_versions_agree(program: Program) -> None:
    project = (ROOT / "python" / "pyproject.toml").read_text()
    stated = re.findall(r'^version = "(.*)"$', project, re.MULTILINE)
    assert stated == [kvtape.__version__]
    assert program("--version").stdout == f"kvtape {kvtape.__version__}\n"


def test_pandas_is_asked_for_only_by_tables(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    done = kvtape.run(["replay", recording, "--policy", "full", "--budget", "1", "--out", tmp_path / "out"])
    assert "summary" in done.tables
    with pytest.raises(kvtape.UsageError, match="pandas is not installed; pip install pandas"):
        done.tables["summary"]
