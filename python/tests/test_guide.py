"""docs/guide-python.md: its blocks run in order and print what stands under them."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Program

GUIDE = ROOT / "docs" / "guide-python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)

DECIMAL = r"\d+\.\d+"


def missing(code: str) -> list[str]:
    """Modules that a block says it needs and that are not there."""
    named = re.match(r"# needs ([\w, ]+)\n", code)
    return [name for name in named[1].split(", ") if not importlib.util.find_spec(name)] if named else []


def test_the_guide_prints_what_it_says(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    # The guide as it should stand goes into this file instead of being compared (./dev refresh guide).
    rewritten = os.environ.get("KVTAPE_WRITE_GUIDE")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"root": ROOT}
    guide = GUIDE.read_text()
    blocks = list(BLOCK.finditer(guide))
    assert len(blocks) >= 7
    corrected, end = "", 0
    for block in blocks:
        code, expected = block.groups()
        if missing(code):
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(GUIDE), "exec"), names)
        printed = out.getvalue()
        if not rewritten:
            assert re.split(DECIMAL, printed) == re.split(DECIMAL, expected or "")
            # Another processor may add in another order and swap two tokens at a cut.
            found, wanted = (map(float, re.findall(DECIMAL, text)) for text in (printed, expected or ""))
            assert list(found) == pytest.approx(list(wanted), abs=0.03)
        elif expected:
            corrected += guide[end : block.start(2)] + printed
            end = block.end(2)
        else:
            assert not printed, f"nothing stands under this block:\n{code}"
    if rewritten:
        Path(rewritten).write_text(corrected + guide[end:])
