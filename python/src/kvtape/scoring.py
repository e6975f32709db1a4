"""Policies in Python: a function scores the tokens of a trace, kvtape does the rest.

`score` writes a file of scores (docs/scores-file.md), which `kvtape replay --policy
scores:file=F.h5` evaluates at any budget beside every other policy.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kvtape.arguments import expect_another_file, expect_path, shown
from kvtape.errors import KvtapeError, UsageError, first_line
from kvtape.numbers import Array, text_of
from kvtape.output import OutputFile
from kvtape.schema import LAYER_TENSORS, SCORES_MARK, layer_name
from kvtape.trace import Sequence, Trace
from kvtape.version import PRODUCER

_TENSORS = {tensor.name: tensor for tensor in LAYER_TENSORS}
_OTHERS = ("query_positions", "context_len", "layer", "sequence", "info", "output_projection")


def score(
    trace: Trace | str | os.PathLike[str],
    function: Callable[..., Any],
    out: str | os.PathLike[str],
    overwrite: bool = False,
) -> str:
    """Calls `function` for every layer of every sequence and writes what it returns to `out`.

    The function is given what its parameters name:

    * `keys`, `values` [Hk, T, D], `queries`, `outputs` [Hq, Tq, D], `logsumexp` [Hq, Tq],
      `column_sums` [Hq, T] and, where they were recorded, `attention` [Hq, Tq, T], `query_mean`
      [Hq, D], `query_covariance` [Hq, D, D], `replay_queries` [Hq, Tr, D], `replay_logsumexp`
      [Hq, Tr], `replay_hidden_norm` [Tr] and `output_projection` [hidden_size, Hq * D],
      all as float32;
    * `query_positions` [Tq], `context_len`, `layer` (its number), `sequence` and `info`.

    It returns [Hk, T] finite numbers, one for every KV head and token, higher is kept first; tokens
    of question and answer are part of T, whatever their score. `overwrite` replaces a file that is
    there, never the trace itself. Returns the path of the file.
    """
    if not isinstance(trace, Trace):
        expect_path("scoring", "trace", trace)
        with Trace(trace) as opened:
            return score(opened, function, out, overwrite)
    if not trace.info.complete:
        raise UsageError(
            f"scoring {trace.path}: it is unfinished and has no fingerprint; finish recording it"
        )
    if not callable(function):
        raise UsageError(f"scoring {trace.path}: function is {shown(function)}, expected a function")
    name = getattr(function, "__name__", type(function).__name__)
    wanted = _parameters(function, name)
    expect_path(f"scoring {trace.path} with {name}", "out", out)
    expect_another_file(f"scoring {trace.path} with {name}", trace.path, out)
    file = OutputFile(out, SCORES_MARK, PRODUCER, overwrite)
    try:
        file.root.attribute("trace_fingerprint", "text", trace.fingerprint)
        for sequence in trace.sequences:
            group = file.root.group("sequences").group(sequence.name).group("layers")
            for number, given in _inputs(trace, sequence, wanted, f"scoring {trace.path} with {name}"):
                doing = f"scoring {trace.path} with {name}: sequence {sequence.name}, layer {number}"
                shape = (trace.info.kv_heads, sequence.length)
                scores = _checked(doing, function(**given), shape)
                group.group(layer_name(number)).array("scores", "float32", scores, heads=True)
        file.finish()
    except BaseException:
        file.discard()
        raise
    return os.fspath(out)


def _parameters(function: Callable[..., Any], name: str) -> list[str]:
    """What the function asks for, by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    wanted = []
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        raise UsageError(
            f"scoring with {name}: it does not say what its parameters are called; wrap it in a function "
            "that names them, such as lambda keys: ..."
        ) from None
    for parameter in parameters:
        known = parameter.name in _TENSORS or parameter.name in _OTHERS
        if known and parameter.kind in named:
            wanted.append(parameter.name)
        elif parameter.default is parameter.empty and parameter.kind in (*named, parameter.POSITIONAL_ONLY):
            raise UsageError(
                f"scoring with {name}: nothing is called {parameter.name}; "
                f"there are {', '.join([*_TENSORS, *_OTHERS])}"
            )
    return wanted


def _inputs(
    trace: Trace, sequence: Sequence, wanted: list[str], doing: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, layer in enumerate(sequence.layers):
        given: dict[str, Any] = {
            "query_positions": sequence.query_positions,
            "context_len": sequence.context_len,
            "layer": number,
            "sequence": sequence,
            "info": trace.info,
        }
        given = {name: value for name, value in given.items() if name in wanted}
        for name in wanted:
            if name == "output_projection":
                found = trace.output_projection(number)
            elif name not in _TENSORS:
                continue
            else:
                found = layer.read(name) if _TENSORS[name].required or name in layer else None
            if found is None:
                raise UsageError(
                    f"{doing}: {name} was not recorded in sequence {sequence.name}; {_REMEDIES[name]}"
                )
            given[name] = found.astype(np.float32)
        yield number, given


_REMEDIES = {
    "attention": "record with --attention full",
    "query_mean": "record with --query-statistics",
    "query_covariance": "record with --query-statistics",
    "output_projection": "record with --output-projection",
    "replay_queries": "record with --queries replay",
    "replay_logsumexp": "record with --queries replay",
    "replay_hidden_norm": "record with --queries replay",
}


def _checked(doing: str, returned: Any, shape: tuple[int, int]) -> Array:
    """[Hk, T] float32, or one line."""
    scores = _as_array(doing, returned)
    if scores.dtype.kind not in "fiu" and scores.dtype.name != "bfloat16":
        raise UsageError(f"{doing}: the scores hold {scores.dtype}, expected numbers")
    if scores.shape != shape:
        raise UsageError(
            f"{doing}: the scores have shape {text_of(scores.shape)}, expected {text_of(shape)} "
            "(KV heads, tokens)"
        )
    with np.errstate(over="ignore"):
        single = scores.astype("<f4")
    bad = np.argwhere(~np.isfinite(single))
    if len(bad):
        head, position = bad[0]
        raise UsageError(
            f"{doing}: KV head {head}, position {position} has the score {scores[head, position]}, "
            "expected finite numbers; higher is kept first"
        )
    return single


def _as_array(doing: str, returned: Any) -> Array:
    """numpy's view of what a function returned: an array, nested lists, or a tensor of torch."""
    try:
        if hasattr(returned, "detach"):
            returned = returned.detach().float().cpu().numpy()
        return np.asarray(returned)
    except KvtapeError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"{doing}: the function returned a {type(returned).__name__} that is no array "
            f"({first_line(error)})"
        ) from None
