"""Python functions as policies, evaluated by the program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import kvtape
import numpy as np
import pytest
from conftest import ROOT, Program


def key_norm(keys: np.ndarray) -> np.ndarray:
    return -np.linalg.norm(keys.astype(np.float64), axis=2)


def test_key_norms_in_python_keep_what_knorm_keeps(tmp_path: Path, program: Program) -> None:
    # The trained model: equal tokens have equal keys, up to rounding, in layer 0 of the other one.
    recording = tmp_path / "trained.kvtape.h5"
    model = ["--model", ROOT / "data" / "needle-model-trained", "--max-new-tokens", 6]
    asked = ["--workload", "passkey:digits=5", "--workload", "where", "--sequences", 1, "--length", 200]
    program("record", *model, *asked, "--device", "cpu", "--quiet", "--out", recording)
    scores = kvtape.score(recording, key_norm, tmp_path / "norms.h5")
    with h5py.File(scores) as plain, kvtape.open(recording) as trace:
        assert plain.attrs["trace_fingerprint"].decode() == trace.fingerprint
        keys = trace.sequences[1].layers[2].keys
        assert np.array_equal(plain["sequences/0001/layers/002/scores"], key_norm(keys).astype(np.float32))
    policies = ["--policy", "knorm", "--policy", f"scores:file={scores}"]
    program("replay", recording, *policies, "--budget", "25%", "--quiet", "--out", tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.decisions.h5"))
    assert len(files) == 2 and "identical yes" in program("diff", *files).stdout


def test_a_function_is_given_what_it_names(recording: Path, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def everything(
        keys, values, queries, outputs, logsumexp, column_sums, attention, query_mean, query_covariance,
        replay_queries, replay_logsumexp, replay_hidden_norm, output_projection, query_positions,
        context_len, layer, sequence, info, extra=5,
    ):  # fmt: skip
        seen.append(dict(locals()))
        return np.zeros(keys.shape[:2], np.int64)

    kvtape.score(recording, everything, tmp_path / "all.h5")
    with kvtape.open(recording) as trace:
        assert len(seen) == 2 * trace.info.layers
        given, one = seen[-1], trace.sequences[1]
        assert given["layer"] == trace.info.layers - 1 and given["extra"] == 5
        assert given["context_len"] == one.context_len and given["info"] == trace.info
        for name in one.layers[-1].names():
            assert given[name].dtype == np.float32
            assert np.array_equal(given[name], one.layers[-1].read(name))
        assert given["output_projection"].shape == (trace.info.hidden_size, 8 * trace.info.head_dim)


def test_small_floats_arrive_as_float32(small_floats: dict[str, Path], tmp_path: Path) -> None:
    def score(keys: np.ndarray) -> np.ndarray:
        assert keys.dtype == np.float32
        return keys.sum(axis=2)

    assert kvtape.score(small_floats["bfloat16"], score, tmp_path / "a.h5") == str(tmp_path / "a.h5")


BAD_SCORES = [
    (lambda keys: np.zeros(keys.shape[1]), r"the scores have shape \d+, expected 4x\d+ \(KV heads, tokens\)"),
    (lambda keys: np.full(keys.shape[:2], np.nan), "KV head 0, position 0 has the score nan"),
    (lambda keys: np.full(keys.shape[:2], 1e300), r"has the score 1e\+300, expected finite numbers"),
    (lambda keys: keys.astype(str), "the scores hold <U32, expected numbers"),
    (lambda keys: keys[..., 0] > 0, "the scores hold bool, expected numbers"),
    (lambda keys: None, "the scores hold object, expected numbers"),
    (lambda keys: [[1], [2, 3]], "the function returned a list that is no array"),
    (lambda kyes: 0, "nothing is called kyes; there are attention, "),
]


@pytest.mark.parametrize(("function", "message"), BAD_SCORES)
def test_bad_scores_are_refused_in_one_line(
    function: Any, message: str, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(kvtape.UsageError, match=message) as caught:
        kvtape.score(recording, function, tmp_path / "bad.h5")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_was_not_recorded_is_named(small_floats: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(kvtape.UsageError, match=r"query_mean was not recorded .* --query-statistics"):
        kvtape.score(small_floats["float16"], lambda query_mean: query_mean, tmp_path / "x.h5")


def test_an_existing_file_is_not_replaced(recording: Path, tmp_path: Path) -> None:
    kvtape.score(recording, key_norm, tmp_path / "a.h5")
    with pytest.raises(kvtape.UsageError, match="it exists; overwrite=True replaces it"):
        kvtape.score(recording, key_norm, tmp_path / "a.h5")
    kvtape.score(recording, key_norm, tmp_path / "a.h5", overwrite=True)


def test_the_trace_that_is_scored_is_never_replaced(recording: Path, tmp_path: Path) -> None:
    """Under its name, by a link, and where the unfinished file would take its place."""
    names = [tmp_path / name for name in ("run.h5", "link.h5", "other.h5", "x.h5.partial")]
    for name in (names[0], names[3]):
        name.write_bytes(recording.read_bytes())
    names[1].symlink_to(names[0])
    names[2].hardlink_to(names[0])
    for out in (*names[:3], tmp_path / ".." / tmp_path.name / "run.h5"):
        with pytest.raises(
            kvtape.UsageError, match=r"would take the place of .*run\.h5, which is read"
        ) as caught:
            kvtape.score(names[0], key_norm, out, overwrite=True)
        assert "name another file to write" in str(caught.value)
    with kvtape.open(names[0]) as trace, pytest.raises(kvtape.UsageError, match="which is read"):
        kvtape.score(trace, key_norm, names[0], overwrite=True)
    with pytest.raises(kvtape.UsageError, match="which is read"):
        kvtape.score(names[3], key_norm, tmp_path / "x.h5")
    assert kvtape.check(names[0]).clean and kvtape.check(names[3]).clean
    assert sorted(tmp_path.iterdir()) == sorted(names)


BAD_CALLS = [
    ((5,), "function is 5, expected a function"),
    ((key_norm, 5), "out is 5, expected a path"),
    ((type,), "scoring with type: it does not say what its parameters are called"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_CALLS)
def test_arguments_that_cannot_be_meant_are_refused(
    arguments: tuple[Any, ...], message: str, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(kvtape.UsageError, match=message):
        kvtape.score(recording, *[*arguments, tmp_path / "x.h5"][:2])
    with pytest.raises(kvtape.UsageError, match="trace is <function key_norm"):
        kvtape.score(key_norm, recording, tmp_path / "x.h5")
    assert not list(tmp_path.iterdir())


def test_a_file_of_scores_is_named_as_one(recording: Path, tmp_path: Path) -> None:
    scores = kvtape.score(recording, key_norm, tmp_path / "a.h5")
    expected = r"is a file of scores .* --policy scores:file=.*a\.h5 reads it"
    for reader in (kvtape.open, kvtape.check, kvtape.Trace, kvtape.Decisions):
        with pytest.raises(kvtape.FormatError, match=expected):
            reader(scores)
    with pytest.raises(kvtape.FormatError, match="is a trace, expected a decision file"):
        kvtape.Decisions(recording)


def test_the_example_runs(recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    script = ROOT / "python" / "examples" / "window_value.py"
    place = os.pathsep.join(sys.path)
    command = [sys.executable, script, recording]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": place},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "scores:file=window_value.scores.h5" in done.stdout and "snapkv" in done.stdout
