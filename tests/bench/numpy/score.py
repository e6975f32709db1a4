"""Times straightforward numpy forms of the methods that kvpress lacks, on random tensors of the shape
`kvtape bench scorers` uses.

Each is the formula written down in whole-array operations, as in a paper's supplement; no attempt is made to be clever.
Prints one JSON object a line, like `kvtape bench`.
"""

import argparse
import json
import os
import statistics
import time


def softmax(logits):
    weights = logits - logits.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def ems(keys, queries, column_sums):
    """Global score, aligned by its mean, or that of the last window, whichever is more."""
    heads, tokens, dim = keys.shape
    group = queries.shape[0] // heads
    window = queries.shape[1]
    scores = np.empty((heads, tokens), np.float32)
    for head in range(heads):
        rows = queries[head * group : (head + 1) * group].reshape(-1, dim)
        local = softmax(rows @ keys[head].T / np.float32(dim**0.5)).sum(axis=0) / (group * window)
        whole = column_sums[head * group : (head + 1) * group].sum(axis=0) / (group * tokens)
        scores[head] = np.maximum(whole * (local.mean() / whole.mean()), local)
    return scores


def h2o(column_sums, heads):
    """Attention summed over all queries, the mean of a group."""
    return column_sums.reshape(heads, -1, column_sums.shape[-1]).mean(axis=1)


def r_kv(keys, queries, threshold=0.5, share=0.07, window=8, kernel=7):
    """Votes of the window against redundancy, in tiles of the similarity matrix."""
    heads, tokens, dim = keys.shape
    group = queries.shape[0] // heads
    scores = np.empty((heads, tokens - window), np.float32)
    for head in range(heads):
        logits = queries[head * group : (head + 1) * group, -window:] @ keys[head, :-window].T / np.float32(dim**0.5)
        votes = softmax(logits.max(axis=0)).mean(axis=0)
        padded = np.pad(votes, kernel // 2)
        votes = np.lib.stride_tricks.sliding_window_view(padded, kernel).max(axis=1)
        units = keys[head] / np.linalg.norm(keys[head], axis=1, keepdims=True)
        sums = units @ units.sum(axis=0) - 1.0
        last = np.zeros(tokens, np.int64)
        for begin in range(0, tokens, 1024):
            similar = units[begin : begin + 1024] @ units.T > threshold
            rows = np.arange(len(similar))
            similar[rows, begin + rows] = False
            found = tokens - 1 - np.argmax(similar[:, ::-1], axis=1)
            last[begin : begin + 1024] = np.where(similar.any(axis=1), found, 0)
        np.subtract.at(sums, last, np.einsum("td,td->t", units, units[last]))
        redundancy = softmax(sums / tokens)
        scores[head] = share * votes - (1 - share) * redundancy[:-window]
    return scores


def adakv(scores, budget, alpha=0.2):
    """Head budgets from the best of the layer, the released code's form; then the best of every head."""
    heads, _ = scores.shape
    best = np.argsort(-scores.ravel(), kind="stable")[: heads * budget]
    counts = np.bincount(best // scores.shape[1], minlength=heads)
    budgets = np.round((1 - alpha) * counts + np.floor(alpha * budget)).astype(int)
    return [np.sort(np.argsort(-row, kind="stable")[:n]) for row, n in zip(scores, budgets)]


def laser_hashes(candidates, question, projection, tables, budget):
    """The candidates that share two buckets with the question, by the bits they share with a token of it."""
    signs = candidates @ projection > 0
    asked = question @ projection > 0
    count, bits = len(candidates), signs.shape[1] // tables
    equal = np.zeros(count, np.int64)
    shared = np.zeros((count, tables), bool)
    for row in asked:
        same = signs == row
        equal = np.maximum(equal, same.sum(axis=1))
        shared |= same.reshape(count, tables, bits).all(axis=2)
    rank = np.where(shared.sum(axis=1) >= 2, equal, np.arange(count) - count)
    return np.sort(np.argsort(-rank, kind="stable")[:budget])


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
    options.add_argument("--only", nargs="*", help="names of the methods to time")
    given = options.parse_args()
    for library in ("OPENBLAS", "OMP", "MKL"):  # read when numpy is loaded
        os.environ[f"{library}_NUM_THREADS"] = str(given.threads)
    global np
    import numpy as np

    random = np.random.default_rng(0)

    def tensor(*shape):
        return random.uniform(-1, 1, shape).astype(np.float32)

    keys = tensor(given.kv_heads, given.tokens, given.head_dim)
    queries = tensor(given.query_heads, 32, given.head_dim)
    sums = np.abs(tensor(given.query_heads, given.tokens))
    scores = tensor(given.kv_heads, given.tokens)
    question = random.standard_normal((64, given.head_dim), np.float32)
    candidates = random.standard_normal((given.tokens, given.head_dim), np.float32)
    projection = random.standard_normal((given.head_dim, 80), np.float32)
    methods = {
        "ems": lambda: ems(keys, queries, sums),
        "h2o": lambda: h2o(sums, given.kv_heads),
        "adakv": lambda: adakv(scores, given.tokens // 2),
        "laser_kv": lambda: laser_hashes(candidates, question, projection, 8, given.tokens // 10),
        "r_kv": lambda: r_kv(keys, queries),
    }
    for name, run in methods.items():
        if given.only and name not in given.only:
            continue
        seconds = measure(run, 1 if name == "r_kv" else given.repetitions)
        print(
            json.dumps(
                {
                    "bench": f"numpy {name}",
                    "seconds": statistics.median(seconds),
                    "fastest": min(seconds),
                    "slowest": max(seconds),
                    "repetitions": len(seconds),
                    "threads": given.threads,
                    "tokens": given.tokens,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
