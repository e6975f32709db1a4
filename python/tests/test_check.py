"""`kvtape.check` and `python -m kvtape check` next to the program's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import kvtape
import pytest
from conftest import GOLDEN, Program

SMALL = GOLDEN / "small-float32.kvtape.h5"


def run_module(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kvtape", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_module_says_what_the_program_says(recording: Path, replayed: Path, program: Program) -> None:
    files = [recording, *sorted(replayed.glob("*.decisions.h5"))]
    done = run_module("check", *files)
    assert done.returncode == 0
    assert done.stdout == program("check", *files).stdout


def test_json(recording: Path) -> None:
    done = json.loads(run_module("check", "--json", recording).stdout)
    assert done[0]["clean"] is True and done[0]["kind"] == "trace"
    assert done[0]["fingerprint"] == done[0]["recomputed"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copy(SMALL, tmp_path / "copy.kvtape.h5"))


def test_a_flipped_bit_is_found(copy: Path, program: Program) -> None:
    with h5py.File(copy) as plain:
        chunk = plain["sequences/0000/layers/000/keys"].id.get_chunk_info(0)
    data = bytearray(copy.read_bytes())
    data[chunk.byte_offset + 5] ^= 4
    copy.write_bytes(data)
    report = kvtape.check(copy)
    assert not report.clean and "/sequences/0000/layers/000/keys" in report.findings[0]
    assert run_module("check", copy).returncode == 1
    program("check", copy, code=1)
    with kvtape.open(copy) as trace, pytest.raises(kvtape.FormatError, match="the file is damaged there"):
        _ = trace.sequences[0].layers[0].keys


def edit_attribute(name: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        old = file.attrs[name]
        del file.attrs[name]
        if value is not None:
            kind = h5py.string_dtype("utf-8", 64) if isinstance(value, str) else old.dtype
            file.attrs.create(name, value, dtype=kind)

    return edit


def replace_dataset(name: str, data: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return edit


def link(file: h5py.File) -> None:
    del file["sequences/0000/tokens"]
    file["sequences/0000/tokens"] = h5py.SoftLink("/sequences/0000/text")


REFUSED = [
    (edit_attribute("kvtape_trace", "2.0"), "schema version 2.0; this kvtape reads version 1.x"),
    (edit_attribute("kvtape_trace", None), "has neither attribute kvtape_trace nor kvtape_decisions"),
    (edit_attribute("layers", None), "has no attribute layers"),
    (edit_attribute("layers", 3), "sliding_window has 2 entries, expected 3"),
    (edit_attribute("element_type", "int4"), "element_type is 'int4', expected float32"),
    (edit_attribute("sliding_window", "7"), "sliding_window is not a JSON list"),
    (edit_attribute("complete", 0), "has complete = 0: its writer did not finish"),
    (edit_attribute("fingerprint", "xyz"), "has fingerprint 'xyz', expected 32 hexadecimal digits"),
    (replace_dataset("sequences/0000/tokens", [1.5]), "tokens holds float64, expected int32"),
    (replace_dataset("sequences/0000/spans", [[1]]), r"spans holds int64|spans has shape 1x1"),
    (link, "reaches tokens through a soft or external link"),
]


@pytest.mark.parametrize(("edit", "message"), REFUSED)
def test_files_that_cannot_be_are_refused_in_one_line(
    edit: Callable[[h5py.File], None], message: str, copy: Path
) -> None:
    with h5py.File(copy, "r+") as file:
        edit(file)
    with pytest.raises(kvtape.FormatError, match=message) as caught, kvtape.open(copy) as trace:
        _ = trace.sequences
    assert "\n" not in str(caught.value) and str(copy) in str(caught.value)


def test_a_changed_number_changes_the_fingerprint(copy: Path, program: Program) -> None:
    with h5py.File(copy, "r+") as file:
        file["sequences/0000/layers/000/values"][0, 0, 0] += 1
    report = kvtape.check(copy)
    assert report.findings[0].endswith(
        f"has fingerprint {report.fingerprint}, but its content gives {report.recomputed}"
    )
    assert program("check", copy, code=1).stdout.strip() == report.findings[0]


def test_what_a_reader_does_not_know_counts_and_does_no_harm(copy: Path, program: Program) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["later"] = "é"
        file.create_group("extra").create_dataset("numbers", data=[1, 2, 3])
    report = kvtape.check(copy)
    assert report.recomputed != report.fingerprint
    assert program("check", copy, code=1).stdout.strip() == report.findings[0]
    with kvtape.open(copy) as trace:
        assert trace.sequences[0].length


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(kvtape.FileError, match="No such file or directory"):
        kvtape.open(tmp_path / "nowhere.h5")
    with pytest.raises(kvtape.FileError, match="it is not a regular file"):
        kvtape.open(tmp_path)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(kvtape.FormatError, match=r"it is not an HDF5 file \(5 bytes\)"):
        kvtape.open(tmp_path / "text")
    (tmp_path / "cut").write_bytes(SMALL.read_bytes()[:3000])
    with pytest.raises(kvtape.FormatError, match="it is cut off or its head is damaged"):
        kvtape.open(tmp_path / "cut")
    assert run_module("check", tmp_path / "nowhere.h5").returncode == 4
    assert run_module("check", tmp_path / "cut").returncode == 3
    assert run_module("check", SMALL, tmp_path / "cut").returncode == 3
