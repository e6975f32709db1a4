"""Evaluates a ScorerPress of kvpress on a trace, beside the policies of kvtape.

    python kvpress_scores.py RUN.kvtape.h5 SnapKVPress KnormPress KeyDiffPress --budget 10%,25%

kvpress pins transformers below 5.3, so it wants an environment of its own:

    python -m venv presses && presses/bin/pip install kvpress==0.5.5 ./python pandas

A press scores the context as it does after a prompt of that length. It is given the recorded keys
and values, and the recorded queries turned back to what its own rotation expects; queries that were
not recorded are NaN, so a press that reads them is refused rather than wrong (record with
`--queries all` for those). Presses that need more than that (the model's weights, gradients,
attention matrices) do not run here.
"""

import argparse

import kvpress
import kvtape
import numpy as np
import torch


class Attention(torch.nn.Module):
    """What a press reads of an attention layer: configuration, query projection, rotary embedding."""

    def __init__(self, info, layer):
        super().__init__()
        self.layer_idx, self.head_dim = layer, info.head_dim
        self.num_key_value_groups = info.group
        self.q_proj = torch.nn.Identity()
        self.inv_freq = torch.tensor(info.rope_values()["inv_freq"], dtype=torch.float64)
        self.config = argparse.Namespace(
            num_attention_heads=info.query_heads,
            num_key_value_heads=info.kv_heads,
            num_hidden_layers=info.layers,
            head_dim=info.head_dim,
        )

    def rotary_emb(self, like, positions):
        """cos and sin [1, n, D] of positions [1, n]."""
        angles = positions[..., None].double() * self.inv_freq
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(like), angles.sin().to(like)


def before_rotation(queries, cos, sin):
    """Queries [Hq, n, D] as they were before the rotation by cos and sin [n, D]."""
    first, second = queries.chunk(2, dim=-1)
    return queries * cos - torch.cat((-second, first), dim=-1) * sin


def scorer(press):
    """The press as a function for `kvtape.score`."""

    def score(keys, values, queries, query_positions, context_len, info, layer):
        attention = Attention(info, layer)
        tokens = torch.arange(context_len)[None]
        cos, sin = attention.rotary_emb(torch.zeros(1), tokens)
        inside = query_positions < context_len
        at = torch.from_numpy(query_positions[inside]).long()
        hidden = torch.full((context_len, info.query_heads, info.head_dim), torch.nan)
        turned = before_rotation(torch.from_numpy(queries[:, inside]), cos[0, at], sin[0, at])
        hidden[at] = turned.transpose(0, 1)
        scores = press.score(
            attention,
            hidden.reshape(1, context_len, -1),
            torch.from_numpy(keys[None, :, :context_len]),
            torch.from_numpy(values[None, :, :context_len]),
            None,
            {"position_embeddings": (cos, sin)},
        )
        after = np.zeros((info.kv_heads, keys.shape[1] - context_len))
        return np.concatenate([scores[0].float().numpy(), after], axis=1)

    score.__name__ = type(press).__name__
    return score


def main():
    """Scores the trace with every press, then replays the scores beside policies of kvtape."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("trace")
    options.add_argument("presses", nargs="+", help="classes of kvpress, such as SnapKVPress")
    options.add_argument("--budget", default="10%,25%,50%")
    options.add_argument("--beside", nargs="*", default=["snapkv", "random"], help="policies of kvtape")
    options.add_argument("--out", default="presses")
    given = options.parse_args()
    policies = []
    with kvtape.open(given.trace) as trace:
        for name in given.presses:
            press = getattr(kvpress, name)()
            scores = kvtape.score(trace, scorer(press), f"{name}.scores.h5", overwrite=True)
            policies += ["--policy", f"scores:file={scores}"]
    policies += [word for policy in given.beside for word in ("--policy", policy)]
    done = kvtape.run(["replay", given.trace, *policies, "--budget", given.budget, "--out", given.out])
    print(done.stdout, end="")


if __name__ == "__main__":
    main()
