"""Times the scorers of kvpress on random tensors of the shape `kvtape bench scorers` uses.

Prints one JSON object a line, like `kvtape bench`. Only `press.score` is timed, on the CPU, in
float32, with the tensors in memory; the query projection of the window is the identity, so that
SnapKV and TOVA receive ready queries as kvtape does, and expected attention receives the mean and
covariance of the queries, which kvtape reads from the recording.
"""

import argparse
import json
import statistics
import time

import torch
from kvpress import ExpectedAttentionPress, KeyDiffPress, KnormPress, LagKVPress, SnapKVPress, TOVAPress


class Attention(torch.nn.Module):
    """What a press reads of an attention layer: configuration, query projection, rotary embedding."""

    def __init__(self, query_heads, kv_heads, head_dim):
        super().__init__()
        self.head_dim = head_dim
        self.num_key_value_groups = query_heads // kv_heads
        self.layer_idx = 0
        self.q_proj = torch.nn.Identity()

        class Config:
            num_attention_heads = query_heads
            num_key_value_heads = kv_heads

        self.config = Config()

    def rotary_emb(self, like, positions):
        """cos and sin of the positions, at the frequencies of Llama 2."""
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        angles = positions[..., None] * 10000.0**-exponents
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(like), angles.sin().to(like)


class GivenStatistics(ExpectedAttentionPress):
    """Expected attention from statistics of the queries that are known, as those of a recording are."""

    def give(self, queries):
        """Takes the statistics of queries [1, heads, n, head_dim] before rotation."""
        self.mean = queries.mean(dim=2)
        centred = queries - self.mean.unsqueeze(2)
        self.covariance = centred.transpose(2, 3) @ centred / queries.shape[2]
        return self

    def get_query_statistics(self, module, hidden_states):
        return self.apply_avg_rope(module, self.mean, self.covariance, hidden_states.shape[1])


def rope_identity(tokens, head_dim):
    """cos = 1, sin = 0: queries arrive rotated already."""
    return torch.ones(1, tokens, head_dim), torch.zeros(1, tokens, head_dim)


def measure(run, repetitions):
    run()
    seconds = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tokens", type=int, default=32768)
    options.add_argument("--kv-heads", type=int, default=8)
    options.add_argument("--query-heads", type=int, default=32)
    options.add_argument("--head-dim", type=int, default=128)
    options.add_argument("--repetitions", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)

    shape = (1, given.kv_heads, given.tokens, given.head_dim)
    keys, values = torch.rand(shape) * 2 - 1, torch.rand(shape) * 2 - 1
    hidden = torch.rand(1, given.tokens, given.query_heads * given.head_dim) * 2 - 1
    module = Attention(given.query_heads, given.kv_heads, given.head_dim)
    kwargs = {"position_embeddings": rope_identity(given.tokens, given.head_dim)}

    presses = {
        "knorm": KnormPress(0.5),
        "keydiff": KeyDiffPress(0.5),
        "lagkv": LagKVPress(0.5),
        "snapkv": SnapKVPress(0.5, window_size=64, kernel_size=5),
        "tova": TOVAPress(0.5),
        "expected_attention": GivenStatistics(0.5).give(
            torch.rand(1, given.query_heads, 64, given.head_dim) * 2 - 1
        ),
    }
    with torch.no_grad():
        for name, press in presses.items():
            seconds = measure(
                lambda press=press: press.score(module, hidden, keys, values, None, kwargs), given.repetitions
            )
            print(
                json.dumps(
                    {
                        "bench": f"kvpress {name}",
                        "seconds": statistics.median(seconds),
                        "fastest": min(seconds),
                        "slowest": max(seconds),
                        "repetitions": given.repetitions,
                        "threads": given.threads,
                        "tokens": given.tokens,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
