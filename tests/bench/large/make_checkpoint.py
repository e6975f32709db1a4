"""Writes a checkpoint of random weights in the layer shape of Llama 3.1 8B, to measure speed with.

    python3 tests/bench/large/make_checkpoint.py OUT [--layers 4]

Four layers of the 32 by default, the tokeniser and vocabulary of the needle model, bfloat16: 1.8 GB. Needs nothing but
Python. The same seed gives the same bytes. What such a model answers means nothing.
"""

import argparse
import json
import pathlib
import random
import shutil

HIDDEN, INTERMEDIATE, QUERY_HEADS, KV_HEADS, HEAD_DIM = 4096, 14336, 32, 8, 128
NEEDLE_MODEL = pathlib.Path(__file__).resolve().parents[3] / "data" / "needle-model"

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


def tensors(layers, vocabulary):
    """Name and shape of every tensor, in the order of the file."""
    yield "model.embed_tokens.weight", (vocabulary, HIDDEN)
    for layer in range(layers):
        name = f"model.layers.{layer}."
        yield name + "input_layernorm.weight", (HIDDEN,)
        yield name + "self_attn.q_proj.weight", (QUERY_HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield name + "self_attn.o_proj.weight", (HIDDEN, QUERY_HEADS * HEAD_DIM)
        yield name + "post_attention_layernorm.weight", (HIDDEN,)
        yield name + "mlp.gate_proj.weight", (INTERMEDIATE, HIDDEN)
        yield name + "mlp.up_proj.weight", (INTERMEDIATE, HIDDEN)
        yield name + "mlp.down_proj.weight", (HIDDEN, INTERMEDIATE)
    yield "model.norm.weight", (HIDDEN,)


def size(shape):
    count = 1
    for extent in shape:
        count *= extent
    return count


def write_weights(path, layers, vocabulary, draw):
    header, end = {}, 0
    for name, shape in tensors(layers, vocabulary):
        begin, end = end, end + 2 * size(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors(layers, vocabulary):
            left = size(shape)
            while left > 0:
                count = min(left, 1 << 24)
                file.write(numbers(count, draw, small=not name.endswith("norm.weight")))
                left -= count


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("out", type=pathlib.Path)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--positions", type=int, default=131072 + 1024)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    vocabulary = json.loads((NEEDLE_MODEL / "config.json").read_text())["vocab_size"]
    shutil.copy(NEEDLE_MODEL / "tokenizer.json", given.out)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": given.layers,
        "num_attention_heads": QUERY_HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": vocabulary,
        "max_position_embeddings": given.positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (given.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_weights(given.out / "model.safetensors", given.layers, vocabulary, random.Random(given.seed))


if __name__ == "__main__":
    main()
