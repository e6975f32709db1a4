"""How well reader recall orders live accuracy, over a grid of its two exponents.

    python reader_exponents.py REPLAY_DIR LIVE_DIR [--trace RUN.kvtape.h5] [--without TASK]

REPLAY_DIR is a folder of `kvtape replay`, LIVE_DIR one of `kvtape live` over the same recording. Over
(policy, budget, task) cells, the program correlates the mean of

    sum(m^p * r^q) / sum(m^p)     over all layers and KV heads

with the share of right answers, by rank (Spearman), and prints a row for each p and a column for each q.
`m` is the probability that the queries which produced the answer put on the needle, `r` the share of it
that falls on kept tokens (docs/metrics.md). `needle_recall_readers` of readers.csv is p = 4, q = 8.

Needs the package of `python/`: pip install ./python
"""

import argparse
import csv
import json
import pathlib
import sys

import kvtape
import numpy as np

RESULT = ("policy", "budget", "schedule", "query_source")


class Refused(Exception):
    """Why there is no grid, in one line."""


def rows_of(path, columns):
    """These columns of a table."""
    csv.field_size_limit(1 << 30)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
            return [tuple(row[column] for column in columns) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        wanted = ", ".join(columns)
        raise Refused(
            f"reading {path}: {error!r}; expected a table of kvtape with the columns {wanted}"
        ) from error


def answers_of(live):
    """Of every result and sequence that was judged: its task, and whether the answer was right."""
    setting = ("policy", "parameters", "budget", "schedule")
    sources = {row[:4]: row[4] for row in rows_of(live / "index.csv", (*setting, "query_source"))}
    found = {}
    for *key, sequence, task, correct in rows_of(
        live / "answers.csv", (*setting, "sequence", "task", "correct")
    ):
        policy, _, budget, schedule = key
        if tuple(key) not in sources:
            raise Refused(f"reading {live}: index.csv does not know {policy} at {budget} of answers.csv")
        if int(correct) >= 0:
            found.setdefault((policy, budget, schedule, sources[tuple(key)]), {})[sequence] = (
                task,
                int(correct),
            )
    return found


def needle_attention(trace, sequence):
    """[layers * KV heads, needle tokens]: probability from the queries behind the answer, added up over the
    query heads of a group, mean over both; and the tokens of the needle."""
    needle = [t for s in sequence.spans if s.kind == kvtape.SpanKind.NEEDLE for t in range(s.begin, s.end)]
    needle = np.unique(np.array(needle, dtype=np.int64))
    asking = np.flatnonzero(sequence.query_positions >= sequence.prompt_len - 1)
    last = max(sequence.length - 2, sequence.prompt_len - 1)
    asking = asking[sequence.query_positions[asking] <= last]
    positions = sequence.query_positions[asking].astype(np.int64)
    layers = []
    for layer, window in zip(sequence.layers, trace.info.sliding_window, strict=True):
        keys = layer.keys.astype(np.float64)[:, needle]
        queries = layer.queries.astype(np.float64)[:, asking]
        queries = queries.reshape(len(keys), trace.info.group, len(asking), -1)
        norms = layer.logsumexp.astype(np.float64)[:, asking].reshape(*queries.shape[:3], 1)
        given = np.exp(np.einsum("hgqd,hnd->hgqn", queries, keys) * trace.info.softmax_scale - norms)
        if window is not None:
            given *= needle > positions[:, None] - window
        layers.append(given.mean(axis=(1, 2)))
    return np.concatenate(layers), needle


def deciding_block(schedule, blocks):
    """The last block behind which the policy decides before the answer begins."""
    prompt = [index for index, block in enumerate(blocks) if not block.decoding]
    return 0 if schedule in ("prefill", "prompt") else prompt[-1]


def shares_read(path, schedule, attention):
    """By sequence of a decision file: m and r of every head."""
    found = {}
    with kvtape.open(path) as decisions:
        for sequence in decisions.sequences:
            given, needle = attention[sequence.name]
            block = deciding_block(schedule, sequence.blocks)
            kept = np.concatenate([sequence.kept(layer, block)[:, needle] for layer in sequence.layers])
            if len(kept) != len(given):
                raise Refused(
                    f"reading {path}: it holds {len(sequence.layers)} layers; replay without --layers"
                )
            m = given.sum(axis=1)
            if m.sum() > 0:
                read = (given * kept).sum(axis=1)
                found[sequence.name] = m, np.divide(read, m, out=np.zeros_like(m), where=m > 0)
    return found


def cells_of(replay, live, trace_path, without):
    """For each (policy, budget, task) cell the heads of its sequences, and the share of right answers."""
    answers = answers_of(live)
    with kvtape.open(trace_path) as trace:
        attention = {one.name: needle_attention(trace, one) for one in trace.sequences}
    cells = {}
    for file, *key in rows_of(replay / "index.csv", ("file", *RESULT)):
        judged = answers.get(tuple(key), {})
        heads = shares_read(replay / file, key[2], attention) if judged else {}
        for sequence, (task, right) in judged.items():
            if sequence in heads and task not in without:
                cell = cells.setdefault((*key, task), ([], []))
                cell[0].append(heads[sequence])
                cell[1].append(right)
    return list(cells.values())


def ranks(values):
    """Ascending, equal values sharing the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def spearman(cells, weight, share):
    """Over cells, of their means at these exponents and their right answers."""
    metric = [
        np.mean([(m**weight * r**share).sum() / (m**weight).sum() for m, r in heads]) for heads, _ in cells
    ]
    right = [np.mean(right) for _, right in cells]
    if min(metric) == max(metric) or min(right) == max(right):
        raise Refused(
            "the cells do not differ in what is read, or in what is answered: there is no correlation"
        )
    return np.corrcoef(ranks(metric), ranks(right))[0, 1]


def exponents(text):
    """A list of numbers as the command line has it."""
    numbers = [float(word) for word in text.split(",")]
    if not all(0 < number <= 64 for number in numbers):
        raise ValueError(text)
    return numbers


def read_options():
    """The command line."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("replay", type=pathlib.Path, metavar="REPLAY_DIR")
    options.add_argument("live", type=pathlib.Path, metavar="LIVE_DIR")
    options.add_argument("--trace", help="the recording; default: where replay read it, which run.json says")
    options.add_argument("--without", action="append", default=[], metavar="TASK", help="leave out a task")
    for name, letter, usual in (("weights", "p", "1,2,4"), ("shares", "q", "1,2,4,8,16")):
        about = f"exponents {letter}, from above 0 to 64 (default {usual})"
        options.add_argument(f"--{name}", type=exponents, default=usual, metavar="LIST", help=about)
    return options.parse_args()


def trace_of(replay):
    """Where the replay read its recording."""
    try:
        return json.loads((replay / "run.json").read_text(encoding="utf-8"))["trace"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"reading {replay / 'run.json'}: {error!r}; name the recording with --trace") from error


def main():
    """Prints the grid, or one line that says why there is none."""
    given = read_options()
    try:
        cells = cells_of(given.replay, given.live, given.trace or trace_of(given.replay), given.without)
        if not cells:
            raise Refused(
                f"{given.replay} and {given.live} have no cell in common with a needle that is read"
            )
        rows = [[spearman(cells, weight, share) for share in given.shares] for weight in given.weights]
        print(f"{len(cells)} cells\n")
        print("| | " + " | ".join(f"`r^{share:g}`" for share in given.shares) + " |")
        print("|---" * (1 + len(given.shares)) + "|")
        for weight, row in zip(given.weights, rows, strict=True):
            print(f"| `m^{weight:g}` | " + " | ".join(f"{value:.3f}" for value in row) + " |")
    except (Refused, kvtape.KvtapeError) as error:
        sys.exit(f"reader_exponents: {error}")


if __name__ == "__main__":
    main()
