"""The example that prints how well reader recall orders answers, over its two exponents."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Program

SCRIPT = ROOT / "python" / "examples" / "reader_exponents.py"


def grid(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / "python" / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def both_loops(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `replayed` and `live`, compared by verify, of two tasks and five policies."""
    folder = tmp_path_factory.mktemp("loops")
    asked = ["--workload", "passkey:digits=5", "--workload", "where", "--sequences", 3, "--length", 200]
    program("record", *asked, "--device", "cpu", "--max-new-tokens", 8, "--quiet", "--out", folder / "run.h5")
    policies = [word for name in ("full", "snapkv", "keydiff", "h2o", "tova") for word in ("--policy", name)]
    budgets = ["--budget", "10%,30%,60%", "--quiet", "--out"]
    program("replay", folder / "run.h5", *policies, *budgets, folder / "replayed")
    limit = ["--max-new-tokens", 8]
    program("live", "--like", folder / "run.h5", *policies, *limit, *budgets, folder / "live")
    program("verify", folder / "replayed", folder / "live", "--quiet")
    return folder


def printed(text: str) -> list[list[float]]:
    return [[float(cell) for cell in line.split("|")[2:-1]] for line in text.splitlines() if "`m^" in line]


def test_the_grid_holds_what_verify_prints(both_loops: Path) -> None:
    with (both_loops / "live" / "calibration.csv").open(newline="") as file:
        known = {(row["metric"], row["task"]): row for row in csv.DictReader(file)}
    cells = int(known["needle_read", "all"]["cells"])
    text = grid(both_loops / "replayed", both_loops / "live").stdout
    assert text.startswith(f"{cells} cells\n") and cells == 30
    found = printed(text)
    assert [len(row) for row in found] == [5, 5, 5]
    assert found[0][0] == pytest.approx(float(known["needle_read", "all"]["spearman"]), abs=0.0006)
    assert found[2][3] == pytest.approx(float(known["needle_recall_readers", "all"]["spearman"]), abs=0.0006)
    only = ["--without", "passkey:digits=5", "--weights", 4, "--shares", 8]
    alone = grid(both_loops / "replayed", both_loops / "live", *only)
    assert alone.stdout.startswith("15 cells\n")
    one_task = float(known["needle_recall_readers", "where"]["spearman"])
    assert printed(alone.stdout) == [[pytest.approx(one_task, abs=0.0006)]]


def test_what_cannot_be_read_is_one_line(both_loops: Path, tmp_path: Path) -> None:
    replayed, live = both_loops / "replayed", both_loops / "live"

    def refused(*arguments: object) -> str:
        message = grid(*arguments, code=1).stderr
        assert message.startswith("reader_exponents: ") and message.count("\n") == 1, message
        return message

    moved = shutil.copytree(replayed, tmp_path / "moved")
    (moved / "run.json").write_text(json.dumps({}))
    assert "name the recording with --trace" in refused(moved, live)
    assert "cells" in grid(moved, live, "--trace", both_loops / "run.h5").stdout
    assert "absent.h5" in refused(replayed, live, "--trace", "absent.h5")
    assert "answers.csv" in refused(replayed, replayed)
    # Eight tokens are too few for any pass key.
    assert "there is no correlation" in refused(replayed, live, "--without", "where")
    both_tasks = ("--without", "where", "--without", "passkey:digits=5")
    assert "have no cell in common" in refused(replayed, live, *both_tasks)
    (moved / "index.csv").write_text("policy,budget\nsnapkv,10%\n")
    assert "with the columns file, policy" in refused(moved, live, "--trace", both_loops / "run.h5")
    assert "--weights" in grid(replayed, live, "--weights", "0", code=2).stderr
