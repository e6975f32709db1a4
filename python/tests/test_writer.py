"""Traces written in Python, judged by the program."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kvtape
import numpy as np
import pytest
from conftest import Program

INFO = kvtape.TraceInfo(
    layers=2,
    query_heads=4,
    kv_heads=2,
    head_dim=8,
    hidden_size=32,
    softmax_scale=8**-0.5,
    element_type="float32",
    model_id="made up",
    model_config="{}",
    sliding_window=(None, 64),
)


def sequence(length: int = 40, generated: int = 3) -> kvtape.SequenceInfo:
    prompt = length - generated
    return kvtape.SequenceInfo(
        tokens=np.arange(length, dtype=np.int32),
        prompt_len=prompt,
        context_len=prompt - 5,
        text=("é" * length).encode(),
        text_offsets=np.arange(length + 1) * 2,
        spans=[
            kvtape.Span(kvtape.SpanKind.CONTEXT, 0, prompt - 5),
            kvtape.Span(kvtape.SpanKind.NEEDLE, 10, 14, 0),
            kvtape.Span(kvtape.SpanKind.QUESTION, prompt - 5, prompt, 0),
        ],
        query_positions=np.arange(20, length),
        logits_top=np.ones((generated, 5), np.float32),
        logits_top_ids=np.arange(generated * 5).reshape(generated, 5),
        task="made up",
        answer="é\0é",
        seed=2**64 - 1,
    )


def tensors(
    info: kvtape.TraceInfo, length: int, queries: int, seed: int = 0
) -> Iterator[dict[str, np.ndarray]]:
    """Random keys, values and queries, and the attention that follows from them."""
    draw = np.random.default_rng(seed)
    group = info.query_heads // info.kv_heads
    for _ in range(info.layers):
        keys, values = draw.standard_normal((2, info.kv_heads, length, info.head_dim)).astype(np.float32)
        asked = draw.standard_normal((info.query_heads, queries, info.head_dim)).astype(np.float32)
        logits = asked @ np.repeat(keys, group, 0).transpose(0, 2, 1) * info.softmax_scale
        future = np.arange(length) > np.arange(length - queries, length)[:, None]
        weights = np.exp(np.where(future, -np.inf, logits))
        total = weights.sum(-1, keepdims=True)
        yield {
            "keys": keys,
            "values": values,
            "queries": asked,
            "outputs": (weights / total) @ np.repeat(values, group, 0),
            "logsumexp": np.log(total[..., 0]).astype(np.float32),
            "column_sums": np.ones((info.query_heads, length), np.float32),
        }


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_program_finds_our_traces_clean_and_replays_them(
    dtype: str, tmp_path: Path, program: Program
) -> None:
    info = dataclasses.replace(INFO, element_type=dtype)
    path = tmp_path / "made.kvtape.h5"
    with kvtape.TraceWriter(path, info) as out:
        for layer in range(info.layers):
            out.write_output_projection(layer, np.eye(32))
        out.add(sequence(), tensors(info, 40, 20))
        out.add(sequence(30, 0), tensors(info, 30, 10))
    assert f"2 sequences, fingerprint {out.fingerprint}" in program("check", path).stdout
    assert out.fingerprint in program("info", path).stdout
    assert kvtape.check(path).recomputed == out.fingerprint
    policies = ["--policy", "snapkv:window=4", "--policy", "knorm", "--policy", "criticalkv(snapkv:window=4)"]
    program("replay", path, *policies, "--budget", "25%", "--quiet", "--out", tmp_path / "replayed")
    assert (tmp_path / "replayed" / "summary.csv").is_file()


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_copy_has_the_same_fingerprint(
    kind: str, recording: Path, small_floats: dict[str, Path], tmp_path: Path, program: Program
) -> None:
    source, copy = recording if kind == "float32" else small_floats[kind], tmp_path / "copy.kvtape.h5"
    with kvtape.open(source) as trace, kvtape.TraceWriter(copy, trace.info) as out:
        for layer in range(trace.info.layers):
            weights = trace.output_projection(layer)
            if weights is not None:
                out.write_output_projection(layer, weights)
        for one in trace.sequences:
            out.add(one, ({name: layer.read(name) for name in layer.names()} for layer in one.layers))
    assert out.fingerprint == trace.fingerprint
    program("check", copy)


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.h5", "b.h5")]
    for path in paths:
        with kvtape.TraceWriter(path, dataclasses.replace(INFO, created_utc="2026-01-01T00:00:00Z")) as out:
            out.add(sequence(), tensors(INFO, 40, 20))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_killed_writer_leaves_what_was_finished(tmp_path: Path, program: Program) -> None:
    path = tmp_path / "killed.kvtape.h5"
    script = (
        "import os, sys, kvtape\nfrom test_writer import *\n"
        "def half():\n"
        "    yield next(tensors(INFO, 40, 20))\n"
        "    os._exit(9)\n"
        "out = kvtape.TraceWriter(sys.argv[1], INFO)\n"
        "out.add(sequence(), tensors(INFO, 40, 20))\n"
        "out.add(sequence(), half())\n"
    )
    place = os.pathsep.join([*sys.path, str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", script, path], env={**os.environ, "PYTHONPATH": place}, check=False
    )
    assert done.returncode == 9 and not path.exists()
    left = Path(f"{path}.partial")
    with pytest.raises(kvtape.FormatError, match="partial=True reads what there is"):
        kvtape.open(left)
    with kvtape.open(left, partial=True) as trace:
        assert [one.name for one in trace.sequences] == ["0000"]
        assert trace.sequences[0].layers[1].keys.shape == (2, 40, 8)
    assert "did not complete this file" in program("info", "--partial", left).stdout


def test_an_error_leaves_no_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.kvtape.h5"
    with pytest.raises(RuntimeError, match="mine"), kvtape.TraceWriter(path, INFO) as out:
        out.add(sequence(), tensors(INFO, 40, 20))
        raise RuntimeError("mine")
    assert not path.exists() and Path(f"{path}.partial").exists()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.kvtape.h5"
    first = kvtape.TraceWriter(path, INFO)
    with pytest.raises(kvtape.UsageError, match="another kvtape is writing it"):
        kvtape.TraceWriter(path, INFO)
    first.add(sequence(), tensors(INFO, 40, 20))
    first.finish()
    with pytest.raises(kvtape.UsageError, match="it exists; overwrite=True replaces it"):
        kvtape.TraceWriter(path, INFO)
    with kvtape.TraceWriter(path, INFO, overwrite=True) as second:
        second.add(sequence(30), tensors(INFO, 30, 10))
    assert second.fingerprint != first.fingerprint


def layers_with(**changed: object) -> list[dict[str, object]]:
    return [dict(layer) | changed for layer in tensors(INFO, 40, 20)]


BAD_LAYERS = [
    ({"keys": np.zeros((2, 40, 9))}, r"layer 000: keys has shape 2x40x9, expected 2x40x8"),
    ({"keys": np.zeros((2, 40, 8), np.int32)}, "keys holds int32, expected float32"),
    ({"kyes": np.zeros(1)}, "no tensor is called kyes; there are attention"),
    ({"values": [["a"]]}, "values has shape 1x1"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_LAYERS)
def test_a_wrong_tensor_is_refused(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    out = kvtape.TraceWriter(tmp_path / "x", INFO)
    with pytest.raises(kvtape.UsageError, match=message) as caught, out:
        out.add(sequence(), layers_with(**changed))
    assert "\n" not in str(caught.value)


def test_missing_layers_and_tensors_are_refused(tmp_path: Path) -> None:
    without = [{k: v for k, v in one.items() if k != "outputs"} for one in layers_with()]
    for layers, message in (
        (layers_with()[:1], "found 1 layers, expected 2"),
        (without, "there is no outputs"),
    ):
        out = kvtape.TraceWriter(tmp_path / f"{len(layers)}.h5", INFO)
        with pytest.raises(kvtape.UsageError, match=message), out:
            out.add(sequence(), layers)


BAD_SEQUENCES = [
    ({"context_len": 99}, "context_len is 99, expected 0 to 37"),
    ({"text_offsets": np.zeros(41, np.int64)}, "text_offsets run from 0 to 0, expected 0 to 80"),
    ({"query_positions": np.array([3, 3])}, "query_positions hold 3 after 3"),
    ({"spans": [kvtape.Span(kvtape.SpanKind.NEEDLE, 5, 41)]}, "spans row 0 is tokens 5 to 41 of 40"),
    ({"correct": 2}, "correct is 2, expected -1 to 1"),
    ({"tokens": np.full(40, -1)}, "tokens hold -1, expected no negative id"),
    ({"logits_top": np.full((3, 5), np.nan)}, "logits_top hold NaN"),
    ({"task": "all"}, 'task is "all", which the tables use for all tasks together'),
    ({"answer": None}, r"answer is None, expected text \(str\)"),
    ({"seed": -1}, "seed is -1, expected a whole number from 0 to 18446744073709551615"),
    ({"replay_chunks": np.array([[0, 9, 0, 9]])}, "replay_chunks end at token 9"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_SEQUENCES)
def test_a_wrong_sequence_is_refused(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(kvtape.UsageError, match=message), kvtape.TraceWriter(tmp_path / "x", INFO) as out:
        out.add(dataclasses.replace(sequence(), **changed), tensors(INFO, 40, 20))


BAD_INFOS = [
    ({"kv_heads": 3}, "query_heads is 4, expected a multiple of the 3 kv_heads"),
    ({"sliding_window": (None,)}, "sliding_window has 1 entries, expected 2"),
    ({"softmax_scale": 0.0}, "softmax_scale is 0.0"),
    ({"element_type": "int8"}, "element_type is 'int8'"),
    ({"rope": '{"theta":-1}'}, "rope has theta -1, expected a positive number"),
    ({"rope": '{"inv_freq":[1]}'}, r"rope has inv_freq \[1\], expected a list of 4 numbers"),
    ({"rope": "[]"}, "rope is not a JSON object"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_INFOS)
def test_a_wrong_root_is_refused(changed: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(kvtape.UsageError, match=message):
        kvtape.TraceWriter(tmp_path / "x", dataclasses.replace(INFO, **changed))
