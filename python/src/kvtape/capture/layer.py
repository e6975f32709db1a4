"""What one attention layer computed, gathered as it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from kvtape.errors import UsageError
from kvtape.numbers import DTYPES, Array

#: Logits of a second pass that are held at a time, over all heads.
_MOST_LOGITS = 1 << 24


@dataclass
class LayerTape:
    """The tensors of one layer of one sequence. Positions are counted from the first call on."""

    number: int
    context_len: int
    first_query: int  #: rows of this and later positions are kept
    scale: float = 0.0
    window: int | None = None
    length: int = 0  #: positions seen
    keys: list[torch.Tensor] = field(default_factory=list)  #: [Hk, n, D] each
    values: list[torch.Tensor] = field(default_factory=list)
    queries: list[torch.Tensor] = field(default_factory=list)  #: [Hq, n, D] each
    outputs: list[torch.Tensor] = field(default_factory=list)
    logsumexp: list[torch.Tensor] = field(default_factory=list)  #: [Hq, n] each
    columns: torch.Tensor | None = None  #: [Hq, context_len] float64

    def take(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        output: torch.Tensor,
        scale: float,
        window: int | None,
    ) -> None:
        """One call of attention: query [Hq, n, D], key and value [Hk, m, D] up to the same last
        position, output [n, Hq, D]."""
        rows = query.shape[1]
        self.scale, self.window = scale, window
        begin, self.length = self.length, self.length + rows
        for kept, tensor in ((self.keys, key[:, -rows:]), (self.values, value[:, -rows:])):
            kept.append(tensor.to("cpu", copy=True))
        logsumexp = self._second_pass(query, key, begin)
        skipped = max(0, self.first_query - begin)
        if skipped >= rows:
            return
        self.queries.append(query[:, skipped:].to("cpu", copy=True))
        self.outputs.append(output[skipped:].transpose(0, 1).to("cpu", copy=True))
        self.logsumexp.append(logsumexp[:, skipped:])

    def _second_pass(self, query: torch.Tensor, key: torch.Tensor, begin: int) -> torch.Tensor:
        """[Hq, n] log-sum-exp on the CPU; adds the context's rows to the column sums.

        Goes over blocks of queries, so that no more than _MOST_LOGITS logits are held.
        """
        heads, rows, _ = query.shape
        first_key = self.length - key.shape[1]
        step = max(1, _MOST_LOGITS // (heads * key.shape[1]))
        keys = key.float()
        found = []
        for start in range(0, rows, step):
            block = query[:, start : start + step].float()
            positions = torch.arange(begin + start, begin + start + block.shape[1], device=query.device)
            logits = _logits(block, keys[:, : int(positions[-1]) + 1 - first_key], self.scale)
            columns = torch.arange(first_key, first_key + logits.shape[2], device=query.device)
            seen = columns <= positions[:, None]
            if self.window is not None:
                seen &= columns > positions[:, None] - self.window
            logits.masked_fill_(~seen, -torch.inf)
            logsumexp = torch.logsumexp(logits, dim=2)
            found.append(logsumexp.cpu())
            context = self.context_len - begin - start
            if context > 0:
                shares = logits[:, :context].sub_(logsumexp[:, :context, None]).exp_().sum(dim=1)
                self._add_columns(shares, first_key)
        return torch.cat(found, dim=1)

    def _add_columns(self, shares: torch.Tensor, first_key: int) -> None:
        if self.columns is None:
            self.columns = torch.zeros(shares.shape[0], self.context_len, dtype=torch.float64)
        count = min(shares.shape[1], self.context_len - first_key)
        self.columns[:, first_key : first_key + count] += shares[:, :count].to("cpu", torch.float64)

    def tensors(self) -> dict[str, Array]:
        """What a trace stores of the layer, in its own types."""
        heads = self.queries[0].shape[0]
        sums = torch.zeros(heads, self.length)
        if self.columns is not None:
            sums[:, : self.context_len] = self.columns.float()
        return {
            "keys": as_array(torch.cat(self.keys, dim=1)),
            "values": as_array(torch.cat(self.values, dim=1)),
            "queries": as_array(torch.cat(self.queries, dim=1)),
            "outputs": as_array(torch.cat(self.outputs, dim=1)),
            "logsumexp": as_array(torch.cat(self.logsumexp, dim=1)),
            "column_sums": as_array(sums),
        }


def _logits(queries: torch.Tensor, keys: torch.Tensor, scale: float) -> torch.Tensor:
    """[Hq, n, m] of queries [Hq, n, D] and keys [Hk, m, D]."""
    heads, rows, width = queries.shape
    grouped = queries.reshape(keys.shape[0], -1, width)
    return torch.matmul(grouped, keys.transpose(1, 2)).mul_(scale).reshape(heads, rows, -1)


def as_array(tensor: torch.Tensor) -> Array:
    """The same bits for numpy, bfloat16 as `ml_dtypes.bfloat16`."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        bits: Array = tensor.view(torch.int16).numpy()
        return bits.view(DTYPES["bfloat16"])
    array: Array = tensor.numpy()
    return array


def expect_plain(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, extra: Any
) -> None:
    """Refuses attention that a trace cannot describe."""
    number = module.layer_idx
    if not getattr(module, "is_causal", True):
        raise UsageError(f"recording layer {number}: its tokens attend to later ones; expected a decoder")
    for name, what in (("softcap", "soft-capped logits"), ("s_aux", "sink logits")):
        if extra.get(name) is not None:
            raise UsageError(f"recording layer {number}: its attention has {what}, which a trace cannot hold")
    if query.shape[0] != 1:
        raise UsageError(
            f"recording layer {number}: it attends to a batch of {query.shape[0]}, expected one prompt"
        )
    if value.shape[-1] != key.shape[-1] or query.shape[1] % key.shape[1]:
        raise UsageError(
            f"recording layer {number}: keys of {tuple(key.shape[1:])} and values of "
            f"{tuple(value.shape[1:])} are no heads of one width"
        )
    if str(key.dtype).removeprefix("torch.") not in ("float32", "float16", "bfloat16"):
        raise UsageError(
            f"recording layer {number}: its keys are {key.dtype}, expected a float of 16 or 32 bits"
        )


def rows_of(positions: int, first: int) -> Array:
    """The positions whose queries were kept."""
    return np.arange(first, positions, dtype=np.int32)
