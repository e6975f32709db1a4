"""Writes what transformers computes for 32 prompts of the needle model, float32 on the CPU.

For each prompt: the token ids, logits after a part of the prompt and at its end, and samples of the
queries and keys (after RoPE) and values of three layers. Log-sum-exps and column sums are computed
here in double from those queries and keys. tests/model/parity_test.cpp compares; everything is drawn
from a fixed seed.
"""

import argparse
import json
import pathlib
import random

import numpy
import torch
from tokenizers import Tokenizer
from transformers import AttentionInterface, AutoModelForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "data" / "needle-model"
LENGTHS = [1, 2, 3, 7, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 150]
LENGTHS += [200, 255, 256, 257, 300, 333, 384, 400, 450, 511, 512, 513, 600, 777, 1025, 1500]
LAYERS = [0, 3, 5]
SAMPLES = 8


class Capture:
    """The queries, keys and values that each layer attends with."""

    def __init__(self):
        self.layers = {}
        AttentionInterface.register("captured", self.attend)
        AttentionMaskInterface.register("captured", sdpa_mask)

    def attend(self, module, query, key, value, attention_mask, **kwargs):
        self.layers[module.layer_idx] = [tensor[0].float().numpy() for tensor in (query, key, value)]
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def prose(lexicon, draw):
    """Sentences with a fact among them, endless enough for the longest prompt."""
    sentences = []
    for _ in range(260):
        adjective, noun = draw.choice(lexicon["adjectives"]), draw.choice(lexicon["nouns"])
        person = draw.choice(lexicon["people"])
        sentences.append(f"{person} saw the {adjective} {noun} near the {draw.choice(lexicon['nouns'])}.")
        if draw.random() < 0.1:
            sentences.append(
                f"The special magic number for {adjective} {noun} is: {draw.randrange(100000):05}."
            )
    return "<s>" + " ".join(sentences)


def softmax_statistics(query, key, scale, limit):
    """Log-sum-exp of every row and the column sums of rows below `limit`, in double."""
    rows = len(query)
    logits = query.astype(numpy.float64) @ key.astype(numpy.float64).T * scale
    logits[numpy.triu_indices(rows, 1)] = -numpy.inf
    largest = logits.max(axis=1)
    logsumexp = largest + numpy.log(numpy.exp(logits - largest[:, None]).sum(axis=1))
    columns = numpy.exp(logits[:limit] - logsumexp[:limit, None]).sum(axis=0)
    return logsumexp, columns


def numbers(values):
    return [float(f"{value:.9g}") for value in values]


def sample(tensor, draw):
    """[head, position, values of the whole row's first half-dozen] of a few places."""
    places = []
    for _ in range(SAMPLES):
        head, position = draw.randrange(tensor.shape[0]), draw.randrange(tensor.shape[1])
        first = draw.randrange(tensor.shape[2] - 4)
        row = tensor[head, position, first : first + 4]
        places.append({"head": head, "position": position, "first": first, "values": numbers(row)})
    return places


def sample_logits(logits, draw):
    best = numpy.argsort(-logits, kind="stable")[:8]
    others = sorted(draw.sample(range(len(logits)), 24))
    ids = [int(i) for i in best] + others
    return {"largest": float(numpy.abs(logits).max()), "ids": ids, "values": numbers(logits[ids])}


def layer_vectors(layer, captured, scale, limit, draw):
    query, key, value = captured
    head = draw.randrange(len(query))
    logsumexp, columns = softmax_statistics(
        query[head], key[head * len(key) // len(query)], scale, limit
    )
    positions = sorted({draw.randrange(len(columns)) for _ in range(SAMPLES)} | {0})
    return {
        "layer": layer,
        "queries": sample(query, draw),
        "keys": sample(key, draw),
        "values": sample(value, draw),
        "head": head,
        "positions": positions,
        "logsumexp": numbers(logsumexp[positions]),
        "column_sums": numbers(columns[positions]),
    }


def prompt_vectors(model, capture, ids, draw):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
    part = max(1, len(ids) * 2 // 3)
    scale = model.config.head_dim**-0.5
    return {
        "ids": ids,
        "part": part,
        "part_logits": sample_logits(logits[part - 1], draw),
        "logits": sample_logits(logits[-1], draw),
        "layers": [
            layer_vectors(layer, capture.layers[layer], scale, part, draw) for layer in LAYERS
        ],
    }


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("output", type=pathlib.Path)
    given = options.parse_args()
    capture = Capture()
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    model.set_attn_implementation("captured")
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    lexicon = json.loads((MODEL / "lexicon.json").read_text())
    draw = random.Random(3)
    prompts = []
    for length in LENGTHS:
        ids = tokenizer.encode(prose(lexicon, draw), add_special_tokens=False).ids[:length]
        assert len(ids) == length
        prompts.append(prompt_vectors(model, capture, ids, draw))
    with given.output.open("w") as file:
        file.write("[\n")
        file.write(",\n".join(json.dumps(prompt, separators=(",", ":")) for prompt in prompts))
        file.write("\n]\n")


if __name__ == "__main__":
    main()
