"""Makes a tiny checkpoint with random weights of every family that kvtape runs, and what
transformers computes with it on the CPU: OUTPUT/NAME/{config.json, model*.safetensors, vectors.json},
vectors.json in float32 and bfloat16.json in bfloat16, with how far that strays from float32.
tests/model/parity_test.cpp compares; everything is drawn from fixed seeds.
"""

import argparse
import copy
import json
import pathlib
import random
import shutil

import torch
from make_vectors import Capture, layer_vectors, sample, sample_logits
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

LENGTHS = [1, 60, 511, 512, 513, 2000]
BFLOAT16_LENGTHS = [1, 60, 513]
# Large enough that attention is not flat and that a wrong bias shows.
SPREAD = 0.25
SHAPE = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": SPREAD,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "original_max_position_embeddings": 512,
}
FAMILIES = {
    "llama2": (LlamaConfig, LlamaForCausalLM, {"num_key_value_heads": 4}),
    "llama3": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "llama-biased": (LlamaConfig, LlamaForCausalLM, {"attention_bias": True, "mlp_bias": True}),
    "llama-yarn": (LlamaConfig, LlamaForCausalLM, {"rope_parameters": YARN}),
    "mistral": (MistralConfig, MistralForCausalLM, {"sliding_window": 48, "head_dim": 16}),
    "llama-dynamic": (
        LlamaConfig,
        LlamaForCausalLM,
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
    ),
    "phi3": (Phi3Config, Phi3ForCausalLM, {"sliding_window": 700, "pad_token_id": 2}),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "qwen2-window": (
        Qwen2Config,
        Qwen2ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 1},
    ),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "tie_word_embeddings": True}),
}
# Tokens that end an answer by generation_config.json, where that says more than config.json.
STOPS = {"phi3": [1, 3]}


def randomise(model):
    """Norms and biases too, which start as ones and zeros."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("bias"):
                weight.normal_(0.0, SPREAD)
            elif "norm" in name:
                weight.uniform_(0.5, 1.5)
            # What the file holds is what is computed with. (Rotary frequencies are no parameters.)
            weight.copy_(weight.to(torch.bfloat16))


def prompt_vectors(model, capture, ids, draw):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].numpy()
    part = max(1, len(ids) * 2 // 3)
    layers = []
    for layer in range(SHAPE["num_hidden_layers"]):
        vectors = layer_vectors(layer, capture.layers[layer], 1.0, part, draw)
        # Log-sum-exps and column sums are checked in double against the queries and keys.
        for derived in ("positions", "logsumexp", "column_sums"):
            vectors[derived] = []
        tensors = zip(["queries", "keys", "values"], capture.layers[layer], strict=True)
        vectors["largest"] = {kind: float(abs(tensor).max()) for kind, tensor in tensors}
        layers.append(vectors)
    return {
        "ids": ids,
        "part": part,
        "part_logits": sample_logits(logits[part - 1], draw),
        "logits": sample_logits(logits[-1], draw),
        "layers": layers,
    }


def run(model, capture, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].float().numpy()
    layers = [capture.layers[layer] for layer in range(SHAPE["num_hidden_layers"])]
    return logits, [[tensor.astype("float32") for tensor in layer] for layer in layers]


def bfloat16_vectors(model, rounded, capture, ids, draw):
    """Samples of what is computed in bfloat16, and the largest distance from float32 of each tensor."""
    exact_logits, exact_layers = run(model, capture, ids)
    logits, layers = run(rounded, capture, ids)
    vectors = {"ids": ids, "logits": sample_logits(logits[-1], draw), "layers": []}
    vectors["logits"]["strays"] = float(abs(logits - exact_logits).max())
    for tensors, exact in zip(layers, exact_layers, strict=True):
        layer = {}
        for kind, tensor, reference in zip(["queries", "keys", "values"], tensors, exact, strict=True):
            layer[kind] = {
                "largest": float(abs(tensor).max()),
                "strays": float(abs(tensor - reference).max()),
                "samples": sample(tensor, draw),
            }
        vectors["layers"].append(layer)
    return vectors


def make(name, folder):
    configuration, architecture, own = FAMILIES[name]
    torch.manual_seed(11)
    draw = random.Random(name)
    model = architecture(configuration(**{**SHAPE, **own})).eval()
    randomise(model)
    model.generation_config.eos_token_id = STOPS.get(name, SHAPE["eos_token_id"])
    # One family in shards, as large checkpoints come.
    shard = "30KB" if name == "qwen2" else "50GB"
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder, max_shard_size=shard)
    capture = Capture()
    model.set_attn_implementation("captured")
    prompts = [
        prompt_vectors(model, capture, [draw.randrange(64) for _ in range(length)], draw)
        for length in LENGTHS
    ]
    (folder / "vectors.json").write_text(json.dumps(prompts, separators=(",", ":")) + "\n")
    rounded = architecture.from_pretrained(folder, dtype=torch.bfloat16).eval()
    rounded.set_attn_implementation("captured")
    prompts = [
        bfloat16_vectors(
            model, rounded, capture, [draw.randrange(64) for _ in range(length)], draw
        )
        for length in BFLOAT16_LENGTHS
    ]
    (folder / "bfloat16.json").write_text(json.dumps(prompts, separators=(",", ":")) + "\n")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("output", type=pathlib.Path)
    given = options.parse_args()
    for name in FAMILIES:
        folder = given.output / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        make(name, folder)


if __name__ == "__main__":
    main()
