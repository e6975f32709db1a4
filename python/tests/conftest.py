"""What the tests share: the built program (KVTAPE), recordings made with it, and the golden files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
CHECKPOINT = ROOT / "data" / "needle-model"

Program = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def program() -> Program:
    """Runs the built program: `program("check", path)`."""
    found = os.environ.get("KVTAPE") or shutil.which("kvtape")
    if found is None:
        pytest.skip("the program kvtape is not built; KVTAPE names it")

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [found, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{command}: {done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def recording(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sequences of the needle model with all optional tensors, in float32."""
    path = tmp_path_factory.mktemp("recording") / "float32.kvtape.h5"
    stored = ["--output-projection", "--query-statistics", "--queries", "replay", "--attention", "full"]
    asked = ["--workload", "passkey:digits=5", "--workload", "where", "--sequences", 1, "--length", 200]
    program("record", *asked, *stored, "--device", "cpu", "--max-new-tokens", 6, "--quiet", "--out", path)
    return path


@pytest.fixture(scope="session")
def small_floats(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One sequence in bfloat16 and one in float16."""
    folder = tmp_path_factory.mktemp("small")
    paths = {dtype: folder / f"{dtype}.kvtape.h5" for dtype in ("bfloat16", "float16")}
    for dtype, path in paths.items():
        asked = ["--workload", "passkey:digits=5", "--sequences", 1, "--length", 128, "--dtype", dtype]
        program("record", *asked, "--device", "cpu", "--max-new-tokens", 4, "--quiet", "--out", path)
    return paths


@pytest.fixture(scope="session")
def replayed(program: Program, recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a replay of `recording`, with scores and merges."""
    folder = tmp_path_factory.mktemp("replayed")
    policies = ["--policy", "snapkv", "--policy", "ems", "--policy", "full"]
    program("replay", recording, *policies, "--budget", "20%", "--scores", "--quiet", "--out", folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Of the needle model, for tests that have transformers."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(CHECKPOINT / "tokenizer.json"))
