"""How far two float32 computations of the trained needle model are from a naive one in double.

kvtape turns queries and keys by angles in double, transformers by angles in float32, which at
position 2,000 are up to 1e-4 off. `pytest -s` prints the distances.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import kvtape
import numpy as np
import pytest
from conftest import ROOT, Program
from test_capture import NEEDS_TORCH, NEEDS_TRANSFORMERS, load, record_again

torch = pytest.importorskip("torch", reason=NEEDS_TORCH)
transformers = pytest.importorskip("transformers", reason=NEEDS_TRANSFORMERS)

CHECKPOINT = ROOT / "data" / "needle-model-trained"
TENSORS = ("queries", "keys", "values")


class Recordings(NamedTuple):
    ours: Path
    theirs: Path
    theirs_exact: Path  #: transformers with angles in double


def frequencies(config: Any) -> Any:
    size = config["head_dim"]
    return config["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)


def with_exact_angles(model: Any) -> Any:
    """Its rotary embedding as transformers writes it, but for the type of the angles."""
    pairs = frequencies(json.loads((CHECKPOINT / "config.json").read_text()))

    def forward(hidden: Any, position_ids: Any) -> tuple[Any, Any]:
        angles = position_ids[..., None].double() * pairs
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)

    model.model.rotary_emb.forward = forward
    return model


def in_double(tokens: Any) -> list[dict[str, Any]]:
    """Queries, keys and values [heads, T, D] of every layer, by the formulas, in double."""
    config = json.loads((CHECKPOINT / "config.json").read_text())
    loaded = load("float32", CHECKPOINT).state_dict()
    weights = {name.removeprefix("model."): weight.double() for name, weight in loaded.items()}
    count, size = len(tokens), config["head_dim"]
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies(config)
    cosine, sine = angles.cos(), angles.sin()
    hidden_keys = torch.ones(count, count, dtype=torch.bool).triu(1)

    def normed(x: Any, name: str) -> Any:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + config["rms_norm_eps"])
        return x * scale * weights[name + "layernorm.weight"]

    def heads(x: Any, name: str) -> Any:
        return (x @ weights[name + ".weight"].T).view(count, -1, size).transpose(0, 1)

    def turned(x: Any) -> Any:
        a, b = x[..., : size // 2], x[..., size // 2 :]
        return torch.cat([a * cosine - b * sine, b * cosine + a * sine], dim=-1)

    x = weights["embed_tokens.weight"][torch.from_numpy(tokens.astype(np.int64))]
    layers = []
    for number in range(config["num_hidden_layers"]):
        layer = f"layers.{number}."
        entering = normed(x, layer + "input_")
        query, key, value = (heads(entering, f"{layer}self_attn.{name}_proj") for name in "qkv")
        query, key = turned(query), turned(key)
        layers.append({"queries": query.numpy(), "keys": key.numpy(), "values": value.numpy()})
        key, value = (t.repeat_interleave(len(query) // len(t), 0) for t in (key, value))
        logits = (query @ key.transpose(1, 2) * size**-0.5).masked_fill(hidden_keys, -torch.inf)
        attended = (logits.softmax(-1) @ value).transpose(0, 1).reshape(count, -1)
        x = x + attended @ weights[layer + "self_attn.o_proj.weight"].T
        entering = normed(x, layer + "post_attention_")
        gate, up, down = (weights[f"{layer}mlp.{name}_proj.weight"].T for name in ("gate", "up", "down"))
        x = x + (torch.nn.functional.silu(entering @ gate) * (entering @ up)) @ down
    return layers


def distance(one: Any, other: Any, truth: Any) -> float:
    """The largest difference of any tensor of any layer, relative to the tensor's largest value."""
    return max(
        float(np.abs(a[name] - b[name]).max() / np.abs(exact[name]).max())
        for a, b, exact in zip(one, other, truth, strict=True)
        for name in TENSORS
    )


def tensors_of(path: Path) -> list[dict[str, Any]]:
    with kvtape.open(path) as trace:
        return [{name: layer.read(name) for name in TENSORS} for layer in trace.sequences[0].layers]


@pytest.fixture(scope="module", params=[600, 2000])
def recordings(request: Any, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """One prompt of that many tokens, three times."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(CHECKPOINT / "tokenizer.json"))
    folder = tmp_path_factory.mktemp("exactness")
    found = Recordings(*(folder / f"{name}.kvtape.h5" for name in Recordings._fields))
    asked = ["--workload", "multikey:keys=4", "--sequences", 1, "--length", request.param, "--queries", "all"]
    options = ["--model", CHECKPOINT, "--max-new-tokens", 12, "--device", "cpu", "--dtype", "float32", "--quiet"]
    program("record", *asked, *options, "--out", found.ours)
    with kvtape.open(found.ours) as ours:
        record_again(ours, found.theirs, load("float32", CHECKPOINT), tokenizer, queries="all")
        exact = with_exact_angles(load("float32", CHECKPOINT))
        record_again(ours, found.theirs_exact, exact, tokenizer, queries="all")
    return found


def test_only_angles_in_float32_keep_transformers_from_a_hundred_thousandth(recordings: Recordings) -> None:
    with kvtape.open(recordings.ours) as trace:
        tokens = trace.sequences[0].tokens
    truth = in_double(tokens)
    ours, theirs, exact = (tensors_of(path) for path in recordings)
    print(f"\n{len(tokens)} tokens, queries, keys and values:")
    print(f"kvtape from double:                            {distance(ours, truth, truth):.1e}")
    print(f"transformers from double:                      {distance(theirs, truth, truth):.1e}")
    print(f"transformers, angles in double, from double:   {distance(exact, truth, truth):.1e}")
    print(f"kvtape from transformers:                      {distance(ours, theirs, truth):.1e}")
    print(f"kvtape from transformers, angles in double:    {distance(ours, exact, truth):.1e}")
    assert distance(ours, truth, truth) <= 1e-5
    assert distance(exact, truth, truth) <= 1e-5
    assert distance(ours, exact, truth) <= 1e-5
    assert distance(theirs, truth, truth) > 2 * distance(ours, truth, truth)
