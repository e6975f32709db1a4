"""Writes what scipy and numpy make of small rows: vectors.json, which the tests of analyze/ read.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make_vectors.py

Everything is drawn from a fixed seed. Running the tests needs neither.
"""

import json
import pathlib

import numpy
from scipy import spatial, special, stats

RESAMPLES = 200_000


def bias_case(random, tokens, values):
    """Scores of `tokens` tokens that take at most `values` values, and two kept sets."""
    scores = random.integers(0, values, tokens) / 8.0
    a = random.random(tokens) < numpy.linspace(0.6, 0.1, tokens)
    b = random.random(tokens) < 0.3
    a[0] = b[-1] = True
    positions = numpy.arange(tokens)
    bins = positions * 20 // tokens
    profile = stats.binned_statistic(bins, a.astype(float), "mean", bins=numpy.arange(21) - 0.5)[0]
    defined = ~numpy.isnan(profile)
    middles = (numpy.arange(20) + 0.5) / 20
    counts = numpy.unique(scores, return_counts=True)[1]
    return {
        "scores": scores.tolist(),
        "a": a.astype(int).tolist(),
        "b": b.astype(int).tolist(),
        "spearman": stats.spearmanr(scores, positions).statistic,
        "tie_rate": counts[counts > 1].sum() / tokens,
        "profile": [None if numpy.isnan(rate) else rate for rate in profile],
        "slope": stats.linregress(middles[defined], profile[defined]).slope,
        "distance": stats.wasserstein_distance(positions[a], positions[b]) / tokens,
    }


def paired_case(random, sequences):
    a, b = random.random(sequences), random.random(sequences)
    interval = stats.bootstrap(
        (a - b,), numpy.mean, n_resamples=RESAMPLES, method="percentile", random_state=5, batch=1000
    ).confidence_interval
    return {
        "a": a.tolist(),
        "b": b.tolist(),
        "difference": numpy.mean(a - b),
        "low": interval.low,
        "high": interval.high,
    }


def effective_number(similarity):
    eigenvalues = numpy.linalg.eigvalsh(similarity / len(similarity))
    return float(numpy.exp(special.entr(numpy.clip(eigenvalues, 0, None)).sum()))


def centred(rows):
    return rows - rows.mean(axis=0)


def cka(x, y):
    x, y = centred(x), centred(y)
    cross = numpy.linalg.norm(y.T @ x) ** 2
    return cross / (numpy.linalg.norm(x.T @ x) * numpy.linalg.norm(y.T @ y))


def pairwise(items, similarity):
    return numpy.array([[similarity(a, b) for b in items] for a in items])


def redundancy_case(random, heads, tokens, dim):
    """Heads whose later ones are mixtures of the first."""
    kept = [random.random(tokens) < 0.4 for _ in range(heads)]
    kept[-1] = kept[0] | (random.random(tokens) < 0.1)
    shared = random.standard_normal((tokens, dim))
    rows = [
        (shared * head / heads + random.standard_normal((tokens, dim))).astype("float32")
        for head in range(heads)
    ]
    jaccards = pairwise(kept, lambda a, b: 1 - spatial.distance.jaccard(a, b))
    ckas = pairwise([r.astype("float64") for r in rows], cka)
    return {
        "kept": [k.astype(int).tolist() for k in kept],
        "rows": [r.ravel().tolist() for r in rows],
        "dim": dim,
        "jaccard": jaccards.tolist(),
        "effective_jaccard": effective_number(jaccards),
        "cka": ckas.tolist(),
        "effective_cka": effective_number(ckas),
    }


def main():
    random = numpy.random.default_rng(20)
    vectors = {
        "bias": [bias_case(random, *size) for size in ((97, 1000), (64, 7), (20, 3), (13, 40))],
        "paired": [paired_case(random, sequences) for sequences in (4, 24)],
        "redundancy": [redundancy_case(random, *size) for size in ((4, 50, 6), (3, 31, 4))],
    }
    path = pathlib.Path(__file__).with_name("vectors.json")
    path.write_text(json.dumps(vectors) + "\n")


if __name__ == "__main__":
    main()
