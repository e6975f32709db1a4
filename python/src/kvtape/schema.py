"""Names and layouts of the two files, written once. docs/trace-format.md explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = "1.0"
MAJOR_VERSION = 1

TRACE_MARK = "kvtape_trace"
DECISIONS_MARK = "kvtape_decisions"
SCORES_MARK = "kvtape_scores"

NOT_HASHED = frozenset({"complete", "producer", "created_utc", "fingerprint"})
NO_FINGERPRINT = "0" * 32

ELEMENT_TYPES = ("float32", "float16", "bfloat16")
MOST_LAYERS = 1000
MOST_SEQUENCES = 10000
LONGEST_TEXT = 16 << 20
LARGEST_SEED = 2**64 - 1

TRACE_ATTRIBUTES: Mapping[str, str] = {
    "created_utc": "text",
    "model_id": "text",
    "model_config": "text",
    "layers": "int32",
    "query_heads": "int32",
    "kv_heads": "int32",
    "head_dim": "int32",
    "hidden_size": "int32",
    "softmax_scale": "float64",
    "rope": "text",
    "sliding_window": "text",
    "element_type": "text",
}
SEQUENCE_ATTRIBUTES: Mapping[str, str] = {
    "answer": "text",
    "context_len": "int32",
    "correct": "int8",
    "device": "text",
    "generated_text": "text",
    "prompt_len": "int32",
    "seed": "uint64",
    "task": "text",
}
DECISIONS_ATTRIBUTES: Mapping[str, str] = {
    "trace_fingerprint": "text",
    "policy": "text",
    "parameters": "text",
    "budget": "text",
    "schedule": "text",
    "query_source": "text",
    "loop": "text",
    "seed": "uint64",
}
AMOUNTS: Mapping[str, str] = {"full_bytes": "int64", "kept_bytes": "int64", "kept_tokens": "int64"}


@dataclass(frozen=True)
class Tensor:
    """One dataset of a layer: its name, axes by the letters of the format, and how it is stored."""

    name: str
    axes: tuple[str, ...]
    stored: str = "element"
    required: bool = True


LAYER_TENSORS: tuple[Tensor, ...] = (
    Tensor("attention", ("Hq", "Tq", "T"), "float32", required=False),
    Tensor("column_sums", ("Hq", "T"), "float32"),
    Tensor("keys", ("Hk", "T", "D")),
    Tensor("logsumexp", ("Hq", "Tq"), "float32"),
    Tensor("outputs", ("Hq", "Tq", "D")),
    Tensor("queries", ("Hq", "Tq", "D")),
    Tensor("query_covariance", ("Hq", "D", "D"), "float32", required=False),
    Tensor("query_mean", ("Hq", "D"), "float32", required=False),
    Tensor("replay_hidden_norm", ("Tr",), "float32", required=False),
    Tensor("replay_logsumexp", ("Hq", "Tr"), "float32", required=False),
    Tensor("replay_queries", ("Hq", "Tr", "D"), required=False),
    Tensor("values", ("Hk", "T", "D")),
)


def layer_name(layer: int) -> str:
    """`layer_name(7)` is `007`."""
    return f"{layer:03}"


def sequence_name(sequence: int) -> str:
    """`sequence_name(7)` is `0007`."""
    return f"{sequence:04}"
