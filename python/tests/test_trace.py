"""`kvtape.open` against plain h5py, over what the program recorded."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import kvtape
import ml_dtypes
import numpy as np
import pytest
from conftest import GOLDEN

TENSORS = ("keys", "values", "queries", "outputs", "logsumexp", "column_sums", "attention", "query_mean")


def test_a_recording_reads_as_with_h5py(recording: Path) -> None:
    with kvtape.open(recording) as trace, h5py.File(recording) as plain:
        assert isinstance(trace, kvtape.Trace)
        assert trace.fingerprint == plain.attrs["fingerprint"].decode()
        assert trace.info.layers == plain.attrs["layers"] == len(plain["sequences/0000/layers"])
        assert trace.info.sliding_window == tuple(json.loads(plain.attrs["sliding_window"]))
        assert len(trace.sequences) == len(plain["sequences"]) == 2
        for sequence in trace.sequences:
            group = plain["sequences"][sequence.name]
            assert sequence.task == group.attrs["task"].decode()
            assert sequence.answer == group.attrs["answer"].decode()
            assert np.array_equal(sequence.tokens, group["tokens"])
            assert sequence.text == group["text"][:].tobytes()
            assert [list(span) for span in sequence.spans] == group["spans"][:].tolist()
            assert np.array_equal(sequence.replay_chunks, group["replay_chunks"])
            for number, layer in enumerate(sequence.layers):
                for name in TENSORS:
                    found = layer.read(name)
                    assert found.dtype == np.float32
                    assert np.array_equal(found, group[f"layers/{number:03}/{name}"])
                assert layer.keys.shape == (trace.info.kv_heads, sequence.length, trace.info.head_dim)


def test_needles_have_positions_and_text(recording: Path) -> None:
    with kvtape.open(recording) as trace:
        sequence = trace.sequences[0]
    needle = sequence.positions(kvtape.SpanKind.NEEDLE)
    assert len(needle) and needle.max() < sequence.context_len
    text = sequence.token_text(int(needle[0]), int(needle[-1]) + 1)
    assert sequence.answer in text
    assert "".join(sequence.token_text(t) for t in range(sequence.length)) == sequence.text.decode()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_small_floats_keep_their_bits(small_floats: dict[str, Path], dtype: str) -> None:
    wanted = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
    with kvtape.open(small_floats[dtype]) as trace, h5py.File(small_floats[dtype]) as plain:
        layer = trace.sequences[0].layers[1]
        stored = plain["sequences/0000/layers/001/keys"]
        bits = np.empty(stored.shape, np.uint16)
        stored.id.read(h5py.h5s.ALL, h5py.h5s.ALL, bits, mtype=stored.id.get_type())
        assert layer.keys.dtype == wanted
        assert np.array_equal(layer.keys.view(np.uint16), bits)
        assert np.array_equal(layer.keys.astype(np.float32), stored[:].astype(np.float32))
        assert layer.attention is None and layer.query_mean is None


def test_output_projection_is_read_where_it_was_recorded(
    recording: Path, small_floats: dict[str, Path]
) -> None:
    with kvtape.open(recording) as trace, h5py.File(recording) as plain:
        weights = trace.output_projection(2)
        assert weights is not None
        assert np.array_equal(weights, plain["model/layers/002/output_projection"])
    with kvtape.open(small_floats["float16"]) as trace:
        assert trace.output_projection(0) is None


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.h5")), ids=lambda path: path.name)
def test_the_golden_files_are_clean(path: Path) -> None:
    report = kvtape.check(path)
    assert report.clean and report.recomputed == report.fingerprint


def test_an_unknown_tensor_is_named(recording: Path) -> None:
    with kvtape.open(recording) as trace, pytest.raises(kvtape.FormatError, match="no tensor is called kyes"):
        trace.sequences[0].layers[0].read("kyes")


def test_a_closed_file_says_so(recording: Path) -> None:
    trace = kvtape.open(recording)
    sequence = trace.sequences[0]
    trace.close()
    with pytest.raises(kvtape.FileError, match="the file was closed; open it again"):
        _ = sequence.layers[0].keys
