#!/usr/bin/env python3
"""Writes the binary seeds: a trace of one layer and eight tokens, and a small safetensors file."""

import json
import struct
from pathlib import Path

import h5py
import numpy

SEEDS = Path(__file__).parent / "seeds"


def write_trace(path, chunked):
    layers, query_heads, kv_heads, size, tokens, context, prompt = 1, 2, 1, 4, 8, 5, 7
    queries = numpy.arange(3, tokens, dtype=numpy.int32)
    random = numpy.random.default_rng(1)

    def dataset(group, name, values):
        values = numpy.asarray(values)
        if chunked:
            group.create_dataset(name, data=values, chunks=values.shape, fletcher32=True)
        else:
            group.create_dataset(name, data=values)

    with h5py.File(path, "w", libver=("v108", "v110")) as trace:
        rope = {"inv_freq": [1.0, 0.1], "layout": "half", "rotary_dim": 4, "scaling": None, "theta": 10000.0}
        texts = dict(kvtape_trace="1.0", producer="seed", created_utc="1970-01-01T00:00:00Z", fingerprint="0" * 32,
                     model_id="seed", model_config="{}", rope=json.dumps(rope), sliding_window="[null]",
                     element_type="float32")
        for name, text in texts.items():
            trace.attrs[name] = numpy.bytes_(text)
        trace.attrs["complete"] = numpy.uint8(1)
        numbers = dict(layers=layers, query_heads=query_heads, kv_heads=kv_heads, head_dim=size, hidden_size=8)
        for name, number in numbers.items():
            trace.attrs[name] = numpy.int32(number)
        trace.attrs["softmax_scale"] = numpy.float64(0.5)

        sequence = trace.create_group("sequences/0000")
        for name, text in dict(task="seed", answer="12", generated_text="12", device="cpu").items():
            sequence.attrs[name] = numpy.bytes_(text)
        sequence.attrs["prompt_len"] = numpy.int32(prompt)
        sequence.attrs["context_len"] = numpy.int32(context)
        sequence.attrs["seed"] = numpy.uint64(7)
        sequence.attrs["correct"] = numpy.int8(1)
        dataset(sequence, "tokens", numpy.arange(tokens, dtype=numpy.int32))
        dataset(sequence, "text", numpy.frombuffer(b"abcdefgh", numpy.uint8))
        dataset(sequence, "text_offsets", numpy.arange(tokens + 1, dtype=numpy.int64))
        dataset(sequence, "spans", numpy.array([[1, 0, 5, -1], [2, 1, 3, 0], [3, 5, 7, 0]], numpy.int32))
        dataset(sequence, "query_positions", queries)
        dataset(sequence, "logits_top", random.normal(size=(1, 20)).astype(numpy.float32))
        dataset(sequence, "logits_top_ids", numpy.arange(20, dtype=numpy.int32).reshape(1, 20))
        layer = sequence.create_group("layers/000")
        shapes = dict(keys=(kv_heads, tokens, size), values=(kv_heads, tokens, size),
                      queries=(query_heads, len(queries), size), outputs=(query_heads, len(queries), size),
                      logsumexp=(query_heads, len(queries)), column_sums=(query_heads, tokens))
        for name, shape in shapes.items():
            dataset(layer, name, random.normal(size=shape).astype(numpy.float32))


def write_safetensors(path):
    header = {"__metadata__": {"format": "pt"},
              "a.weight": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
              "b.weight": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))


if __name__ == "__main__":
    for folder in ("trace", "safetensors"):
        (SEEDS / folder).mkdir(parents=True, exist_ok=True)
    write_trace(SEEDS / "trace" / "chunked.kvtape.h5", chunked=True)
    write_trace(SEEDS / "trace" / "contiguous.kvtape.h5", chunked=False)
    write_safetensors(SEEDS / "safetensors" / "two.safetensors")
