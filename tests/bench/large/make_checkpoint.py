"""Writes a checkpoint of random weights in the shape of a Llama, to measure speed and memory with.

    python3 tests/bench/large/make_checkpoint.py OUT [--shape llama-3.1-8b] [--layers N]

`llama-3.1-8b`: its layer shape, four of the 32 layers by default, the vocabulary of the needle model: 1.8 GB.
`llama-3.2-1b`: its exact shape, all 16 layers, 128,256 tokens, RoPE scaling: 2.5 GB.
Both in bfloat16, with the tokeniser of the needle model and, behind its tokens, as many that no text contains as the
vocabulary has room for. Needs nothing but Python. The same seed gives the same bytes. What such a model answers means
nothing.
"""

import argparse
import json
import pathlib
import random

NEEDLE_MODEL = pathlib.Path(__file__).resolve().parents[3] / "data" / "needle-model"

# What config.json says of each, beside what is common to both.
SHAPES = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 4,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131072 + 1024,
    },
    "llama-3.2-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "vocab_size": 128256,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "high_freq_factor": 4.0,
            "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192,
        },
    },
}

# A bfloat16 is two bytes: sign and the upper seven bits of the exponent, then the last of these and seven of the
# fraction. Random bytes with the exponent pinned are numbers of one binade, of either sign.
LOW = bytes(byte & 0x7F for byte in range(256))
HIGH = {small: bytes((byte & 0x80) | (0x3C if small else 0x3F) for byte in range(256)) for small in (True, False)}


def numbers(count, draw, small=True):
    """`count` bfloat16 values of magnitude 1/128 to 1/64, or 1/2 to 1 for the scales of a norm."""
    stored = bytearray(2 * count)
    stored[0::2] = draw.randbytes(count).translate(LOW)
    stored[1::2] = draw.randbytes(count).translate(HIGH[small])
    return stored


def tensors(config):
    """Name and shape of every tensor, in the order of the file."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    query = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (hidden,)
        yield name + "self_attn.q_proj.weight", (query, hidden)
        yield name + "self_attn.k_proj.weight", (kv, hidden)
        yield name + "self_attn.v_proj.weight", (kv, hidden)
        yield name + "self_attn.o_proj.weight", (hidden, query)
        yield name + "post_attention_layernorm.weight", (hidden,)
        yield name + "mlp.gate_proj.weight", (inner, hidden)
        yield name + "mlp.up_proj.weight", (inner, hidden)
        yield name + "mlp.down_proj.weight", (hidden, inner)
    yield "model.norm.weight", (hidden,)


def size(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def write_weights(path, config, draw):
    header, end = {}, 0
    for name, shape in tensors(config):
        begin, end = end, end + 2 * size(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(config):
            left = size(shape)
            while left > 0:
                count = min(left, 1 << 24)
                file.write(numbers(count, draw, small=not name.endswith("norm.weight")))
                left -= count


def write_tokenizer(path, vocabulary):
    tokenizer = json.loads((NEEDLE_MODEL / "tokenizer.json").read_text())
    tokens = tokenizer["model"]["vocab"]
    used = set(tokens.values()) | {token["id"] for token in tokenizer["added_tokens"]}
    tokens.update({f"unused-{number}": number for number in range(vocabulary) if number not in used})
    path.write_text(json.dumps(tokenizer))


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("out", type=pathlib.Path)
    options.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    options.add_argument("--layers", type=int, help="fewer or more than the shape's")
    options.add_argument("--positions", type=int, help="max_position_embeddings, if not the shape's")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": json.loads((NEEDLE_MODEL / "config.json").read_text())["vocab_size"],
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
        **SHAPES[given.shape],
    }
    if given.layers is not None:
        config["num_hidden_layers"] = given.layers
    if given.positions is not None:
        config["max_position_embeddings"] = given.positions
    write_tokenizer(given.out / "tokenizer.json", config["vocab_size"])
    (given.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_weights(given.out / "model.safetensors", config, random.Random(given.seed))


if __name__ == "__main__":
    main()
