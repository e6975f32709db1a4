"""A policy in fifteen lines: what the last queries of the context read, times the length of the value.

python window_value.py RUN.kvtape.h5     # from `kvtape record --out RUN.kvtape.h5`
"""

import sys

import kvtape
import numpy as np


def window_value(keys, values, queries, query_positions, logsumexp, context_len, info):
    """[Hk, T]: attention of the last 32 context queries, mean over the group, times |v|."""
    window = (query_positions >= context_len - 32) & (query_positions < context_len)
    future = np.arange(keys.shape[1]) > query_positions[window][:, None]
    shared = np.repeat(keys, info.group, axis=0).transpose(0, 2, 1)  # [Hq, D, T]
    logits = queries[:, window] @ shared * info.softmax_scale - logsumexp[:, window, None]
    read = np.where(future, 0, np.exp(logits)).sum(axis=1)  # [Hq, T]
    return read.reshape(info.kv_heads, info.group, -1).mean(axis=1) * np.linalg.norm(values, axis=2)


if __name__ == "__main__":
    scores = kvtape.score(sys.argv[1], window_value, "window_value.scores.h5", overwrite=True)
    policies = ["--policy", f"scores:file={scores}", "--policy", "snapkv", "--policy", "random"]
    done = kvtape.run(["replay", sys.argv[1], *policies, "--budget", "10%,25%", "--out", "window_value"])
    print(done.tables["summary"].pivot_table("needle_recall_weighted", "policy", "budget"))
