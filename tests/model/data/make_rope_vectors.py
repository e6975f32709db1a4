"""Writes the inverse frequencies that transformers computes for scaled RoPE, to rope.json."""

import json
import pathlib

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "original_max_position_embeddings": 32768}
CASES = [
    (64, 500000.0, {**LLAMA3, "factor": 8.0}),
    (128, 500000.0, {**LLAMA3, "factor": 32.0}),
    (32, 10000.0, {"rope_type": "linear", "factor": 4.0}),
    (128, 1000000.0, {**YARN, "factor": 4.0}),
    (64, 10000.0, {**YARN, "factor": 16.0, "original_max_position_embeddings": 4096, "truncate": False}),
    (64, 10000.0, {**YARN, "factor": 40.0, "beta_fast": 16, "beta_slow": 2, "mscale": 1.0, "mscale_all_dim": 0.707}),
    (64, 10000.0, {**YARN, "factor": 8.0, "attention_factor": 1.25}),
]


def vectors(head_dim, theta, scaling):
    config = LlamaConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=head_dim,
        max_position_embeddings=131072,
        rope_parameters={"rope_theta": theta, **scaling},
    )
    frequencies, attention_scale = ROPE_INIT_FUNCTIONS[scaling["rope_type"]](config, "cpu")
    return {
        "head_dim": head_dim,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "attention_scale": attention_scale,
        "inv_freq": [float(f"{frequency:.9g}") for frequency in frequencies.tolist()],
    }


def main():
    lines = ",\n".join(json.dumps(vectors(*case)) for case in CASES)
    (pathlib.Path(__file__).resolve().parent / "rope.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
