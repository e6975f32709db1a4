"""Writes a checkpoint of train.py as a Hugging Face Llama directory.

    python export.py checkpoint.pt DIR
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from network import Shape

TOKENIZER_FILE = Path(__file__).resolve().parent.parent / "tokenizer.json"
LONGEST_CONTEXT = 8192
BLOCK_NAMES = {
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}


def exported_name(name):
    """The name transformers gives a weight of ours."""
    parts = name.split(".")
    if parts[0] == "embedding":
        return "model.embed_tokens.weight"
    if parts[0] == "norm":
        return "model.norm.weight"
    _, layer, part, _ = parts
    return f"model.layers.{layer}.{BLOCK_NAMES[part]}.weight"


def config_of(shape):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.mlp_width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.query_heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": LONGEST_CONTEXT,
        "rms_norm_eps": shape.epsilon,
        "rope_theta": shape.rope_theta,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "bfloat16",
    }


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def export(weights, shape, directory):
    """Writes bfloat16 weights, the configuration and the tokeniser to `directory`."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        exported_name(name): weight.to("cpu", torch.bfloat16).contiguous()
        for name, weight in weights.items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", config_of(shape))
    generation = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": False}
    write_json(directory / "generation_config.json", generation)
    if directory.resolve() != TOKENIZER_FILE.parent:
        shutil.copy(TOKENIZER_FILE, directory / "tokenizer.json")


def main():
    checkpoint, directory = sys.argv[1:]
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    export(state["model"], Shape(**state["shape"]), directory)


if __name__ == "__main__":
    main()
