"""Decision files as the program wrote them, read and written again."""

from __future__ import annotations

from pathlib import Path

import h5py
import kvtape
import numpy as np
import pytest
from conftest import Program


def test_fates_read_as_with_h5py(replayed: Path) -> None:
    files = sorted(replayed.glob("*.decisions.h5"))
    assert len(files) == 3
    for path in files:
        with kvtape.open(path) as decisions, h5py.File(path) as plain:
            assert isinstance(decisions, kvtape.Decisions)
            for sequence in decisions.sequences:
                kept = 0
                for layer in sequence.layers:
                    group = plain[f"sequences/{sequence.name}/layers/{layer:03}"]
                    fate = sequence.fate(layer)
                    assert np.array_equal(fate.evicted_at, group["evicted_at"])
                    assert np.array_equal(fate.merged_into, group["merged_into"])
                    assert (fate.merged is None) == ("merged" not in group)
                    if fate.merged is not None:
                        assert np.array_equal(fate.merged.keys, group["merged/keys"])
                    kept += sequence.kept(layer, block=0).sum()
                assert kept == sequence.kept_tokens


def test_full_keeps_everything_and_snapkv_a_fifth(replayed: Path) -> None:
    kept = {}
    for policy in ("full", "snapkv"):
        with kvtape.open(next(replayed.glob(f"{policy}@*"))) as decisions:
            assert decisions.info.policy == policy
            assert decisions.info.parameter_values().get("window", 32) == (32 if policy == "full" else 64)
            kept[policy] = decisions.sequences[0].kept(3, block=0)
    context = kept["full"].sum(axis=1)
    assert (kept["snapkv"].sum(axis=1) == context // 5).all()


@pytest.mark.parametrize("policy", ["full", "snapkv", "ems"])
def test_a_copy_has_the_same_fingerprint(
    replayed: Path, policy: str, tmp_path: Path, program: Program
) -> None:
    source, copy = next(replayed.glob(f"{policy}@*.h5")), tmp_path / "copy.decisions.h5"
    with kvtape.open(source) as decisions, kvtape.DecisionWriter(copy, decisions.info) as out:
        for sequence in decisions.sequences:
            amounts = {name: getattr(sequence, name) for name in ("kept_tokens", "kept_bytes", "full_bytes")}
            fates = {layer: sequence.fate(layer) for layer in sequence.layers}
            out.add(sequence.name, sequence.blocks, amounts, fates)
    assert out.fingerprint == decisions.fingerprint
    assert f"fingerprint {out.fingerprint}" in program("check", copy).stdout
    assert "identical yes" in program("diff", source, copy).stdout


def test_wrong_amounts_are_found(replayed: Path, tmp_path: Path) -> None:
    source, copy = next(replayed.glob("snapkv@*.h5")), tmp_path / "wrong.decisions.h5"
    with kvtape.open(source) as decisions, kvtape.DecisionWriter(copy, decisions.info) as out:
        sequence = decisions.sequences[0]
        amounts = {"kept_tokens": 7, "kept_bytes": sequence.kept_bytes, "full_bytes": sequence.full_bytes}
        out.add(sequence.name, sequence.blocks, amounts, {n: sequence.fate(n) for n in sequence.layers})
    report = kvtape.check(copy)
    assert not report.clean
    assert "has kept_tokens = 7, but its layers give" in report.findings[0]


def test_a_block_that_is_not_there_is_refused(replayed: Path) -> None:
    with (
        kvtape.open(next(replayed.glob("full@*"))) as decisions,
        pytest.raises(kvtape.UsageError, match="there is no block 99, expected 0 to"),
    ):
        decisions.sequences[0].kept(0, block=99)
