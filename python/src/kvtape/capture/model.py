"""What a trace says about a model of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from kvtape.capture.layer import LayerTape
from kvtape.errors import UsageError
from kvtape.records import TraceInfo
from kvtape.version import VERSION

#: Families that rotate neighbouring dimensions instead of the two halves.
_INTERLEAVED = ("codegen", "cohere", "cohere2", "ernie4_5", "glm", "glm4", "gptj", "helium", "llama4_text")
#: Kinds of rotary embedding whose frequencies do not depend on the length. Those of `dynamic` do
#: beyond max_position_embeddings, where `positions_warning` refuses it.
_FIXED = ("default", "linear", "llama3", "yarn", "dynamic")

_NAN_REMEDIES = {
    "float16": "load it in bfloat16 or float32, which reach further",
    "bfloat16": "load it in float32, or check its weights",
}


def expect_decoder(model: Any) -> None:
    """Refuses what does not write text token by token from keys and values alone."""
    name = type(model).__name__
    if not hasattr(getattr(model, "config", None), "get_text_config"):
        raise UsageError(
            f"recording a {name}: it is no model of transformers; load one with AutoModelForCausalLM"
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise UsageError(f"recording {name}: it has an encoder; expected a decoder alone")
    if hasattr(model, "can_generate") and not model.can_generate():
        raise UsageError(f"recording {name}: it does not write text; load it with AutoModelForCausalLM")
    _expect_read_rope(name, text_config(model))


def _expect_read_rope(name: str, config: Any) -> None:
    """Refuses a checkpoint of transformers 5 in transformers 4, which leaves its rotations out."""
    stated = getattr(config, "rope_parameters", None)
    if not isinstance(stated, dict) or not transformers.__version__.startswith("4."):
        return
    theta = getattr(config, "rope_theta", None)
    if _kind(stated) != "default" or stated.get("rope_theta", theta) != theta:
        raise UsageError(
            f"recording {name}: its config.json has rope_parameters, which transformers "
            f"{transformers.__version__} does not read, so that keys are turned by rope_theta {theta} "
            "alone; use transformers 5, or write rope_theta and rope_scaling"
        )


def last_logits(model: Any, done: Any) -> torch.Tensor:
    """[vocabulary] float32 of the last token that was fed."""
    name = type(model).__name__
    for part in ("logits", "past_key_values"):
        if getattr(done, part, None) is None:
            raise UsageError(f"recording {name}: it returned no {part}; load it with AutoModelForCausalLM")
    logits: torch.Tensor = done.logits[0, -1]
    if bool(logits.isnan().any()):
        dtype = str(model.dtype).removeprefix("torch.")
        raise UsageError(
            f"recording {name}: the model computed NaN in {dtype}, so that no next token follows; "
            f"{_NAN_REMEDIES.get(dtype, 'check its weights')}"
        )
    return logits.float()


def text_config(model: Any) -> Any:
    """The configuration of the part that writes text."""
    return model.config.get_text_config()


def describe(model: Any, layers: list[LayerTape]) -> TraceInfo:
    """The root of a trace, from the model and what its layers computed."""
    config = text_config(model)
    key, query = layers[0].keys[0], layers[0].queries[0]
    name = str(getattr(model.config, "_name_or_path", "") or "")
    folder = Path(name) if name else None
    local = folder is not None and (folder / "config.json").is_file()
    written = (
        (folder / "config.json").read_text("utf-8")
        if folder is not None and local
        else model.config.to_json_string(use_diff=False)
    )
    return TraceInfo(
        layers=len(layers),
        query_heads=query.shape[0],
        kv_heads=key.shape[0],
        head_dim=key.shape[2],
        hidden_size=config.hidden_size,
        softmax_scale=float(layers[0].scale),
        element_type=str(key.dtype).removeprefix("torch."),
        model_id=folder.resolve().name if folder is not None and local else name or type(model).__name__,
        model_config=written,
        rope=json.dumps(_rope(model, config, written), separators=(",", ":"), sort_keys=True),
        sliding_window=tuple(layer.window for layer in layers),
        producer=f"transformers {transformers.__version__} hook (kvtape {VERSION})",
    )


def positions_warning(model: Any, positions: int) -> str:
    """What happens to a sequence of so many positions; empty where the model was trained for them.

    A model that cannot run so far is refused: one that looks positions up in a table, and one whose
    rotations would change with the length.
    """
    config = text_config(model)
    most = getattr(config, "max_position_embeddings", None)
    if most is None or positions <= most:
        return ""
    if not any(name.endswith("inv_freq") for name, _ in model.named_buffers()):
        raise UsageError(
            f"recording a prompt: it may reach {positions} tokens with its answer, the model has "
            f"{most} positions and no rotary embedding; shorten it or lower max_new_tokens"
        )
    if _kind(_scaling(config)) == "dynamic":
        raise UsageError(
            f'recording a prompt: {positions} positions, but RoPE scaling "dynamic" turns keys by the '
            f"length of the text beyond {most} (max_position_embeddings), so that a recording would "
            "have no one rotation; use a shorter text"
        )
    return (
        f"1 sequence may become longer, with question and answer, than the {most} positions that the "
        f"model was trained for (max_position_embeddings): up to {positions}. It runs on with "
        "positions it has never seen, and its answers may be worse"
    )


def _scaling(config: Any) -> dict[str, Any] | None:
    parameters = getattr(config, "rope_parameters", None)
    scaling = getattr(config, "rope_scaling", None) if parameters is None else parameters
    return dict(scaling) if isinstance(scaling, dict) else None


def _kind(scaling: dict[str, Any] | None) -> Any:
    return (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))


def _written_scaling(config: str) -> Any:
    """The parameters of RoPE as a config.json has them, under the name of today or of transformers 4."""
    found = json.loads(config)
    found = found.get("text_config") or found
    names = ("rope_parameters", "rope_scaling")
    return next((found[name] for name in names if found.get(name) is not None), None)


def _rope(model: Any, config: Any, written: str) -> dict[str, Any]:
    """What is known of the rotary embedding; no frequencies where layers differ in them."""
    scaling = _scaling(config)
    theta = (scaling or {}).get("rope_theta", getattr(config, "rope_theta", None))
    kind = _kind(scaling)
    rope: dict[str, Any] = {"scaling": _written_scaling(written)}
    rope["layout"] = "interleaved" if config.model_type in _INTERLEAVED else "half"
    if isinstance(theta, (int, float)):
        rope["theta"] = theta
    found = [
        module.inv_freq
        for module in model.modules()
        if isinstance(getattr(module, "inv_freq", None), torch.Tensor)
    ]
    if found and kind in _FIXED and all(torch.equal(one, found[0]) for one in found):
        rope["inv_freq"] = found[0].double().tolist()
        rope["rotary_dim"] = 2 * len(rope["inv_freq"])
    return rope


def projection_layers(model: Any) -> list[torch.Tensor]:
    """[hidden_size, Hq * D] of every layer, behind its attention."""
    layers = text_config(model).num_hidden_layers
    found: dict[int, torch.Tensor] = {}
    for module in model.modules():
        number, projection = getattr(module, "layer_idx", None), getattr(module, "o_proj", None)
        if isinstance(number, int) and isinstance(projection, torch.nn.Linear):
            found[number] = projection.weight
    if sorted(found) != list(range(layers)):
        raise UsageError(
            f"recording {type(model).__name__}: {len(found)} of its {layers} layers have an o_proj to "
            "store, expected all; leave out output_projection"
        )
    return [found[number] for number in range(layers)]


def device_of(model: Any) -> str:
    """Where the model ran, for the trace."""
    device = model.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{place}, torch {torch.__version__}"


def stop_tokens(model: Any) -> set[int]:
    """Ids that end an answer."""
    stops: set[int] = set()
    for config in (getattr(model, "generation_config", None), text_config(model)):
        found = getattr(config, "eos_token_id", None)
        stops |= set(found) if isinstance(found, (list, tuple)) else {found} if found is not None else set()
    return stops
