"""Draws the figures of a paper from kvtape's tables.

    python3 python/figures/figures.py --replay DIR [--live DIR] --out FOLDER [--format pdf|png] [--policies NAME ...]

`--replay` is a folder of `kvtape replay`, after `kvtape analyze` for the keep profile; `--live` one of `kvtape live`, after
`kvtape verify`. Figures whose tables are missing are left out, and the program says which and why:

    recall       weighted needle recall against the share that is kept, with 95 % intervals
    accuracy     right answers of the running model against the budget
    profile      which positions are kept, against the oracle
    heads        where the needle is kept, layer by KV head
    calibration  what replay predicts against what the running model answers
"""

import argparse
import collections
import csv
import math
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Okabe and Ito's colours, which most colour-blind readers tell apart; then other markers.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
MARKERS = ["o", "s", "^", "v", "D", "P", "X"]
WIDTH = 5.5  # inches, a text column


class Missing(Exception):
    """Why a figure cannot be drawn."""


def rows_of(folder, name, maker):
    path = folder / name
    if not path.exists():
        raise Missing(f"{path} is not there; {maker} writes it")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text):
    return math.nan if text == "" else float(text)


def mean(values):
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def share(budget):
    """A budget as a share of the context, or NaN where it is tokens or bytes."""
    if budget.endswith("%"):
        return float(budget[:-1]) / 100
    return float(budget) if budget.replace(".", "", 1).isdigit() else math.nan


def percent(budget):
    return budget if math.isnan(share(budget)) else f"{100 * share(budget):.3g} %"


class Looks:
    """One colour and marker for each policy in all figures."""

    def __init__(self, policies):
        self.policies = sorted(policies, key=lambda name: (name not in ("full", "oracle"), name))

    def of(self, policy):
        index = self.policies.index(policy)
        return {
            "color": COLOURS[index % len(COLOURS)],
            "marker": MARKERS[index // len(COLOURS) % len(MARKERS)],
        }


def named(row):
    source = row.get("query_source", "agnostic")
    return (
        row["policy"] if source == "agnostic" or row["policy"] == "oracle" else f"{row['policy']} ({source})"
    )


def unnamed(policy):
    """The policy alone: the answers of a running model do not say whose queries decided."""
    return policy.rsplit(" (", 1)[0]


def finish(axes, xlabel, ylabel):
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure, axes, count):
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        frameon=False,
        fontsize=8 if count < 13 else 6,
    )


def draw_recall(replay, _, chosen, looks):
    cells = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows_of(replay, "summary.csv", "kvtape replay"):
        cells[named(row)][row["budget"]].append(row)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for policy in (name for name in looks.policies if name in cells and chosen(name)):
        points = []
        for rows in cells[policy].values():
            weights = [float(row["sequences"]) for row in rows]
            column = lambda name, rows=rows, weights=weights: (
                sum(  # noqa: E731
                    weight * number(row[name]) for weight, row in zip(weights, rows)
                )
                / sum(weights)
            )
            points.append(
                [column("kept_ratio")]
                + [column("needle_recall_weighted" + end) for end in ("", "_low", "_high")]
            )
        points = sorted(point for point in points if not any(math.isnan(value) for value in point[:2]))
        if not points:
            continue
        kept, recall, low, high = zip(*points)
        look = looks.of(policy)
        axes.plot(kept, recall, label=policy, markersize=3.5, linewidth=1.2, **look)
        if not any(math.isnan(value) for value in low + high):
            axes.fill_between(kept, low, high, color=look["color"], alpha=0.12, linewidth=0)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "share of the cache that is kept", "weighted needle recall")
    legend(figure, axes, len(looks.policies))
    return figure


def accuracies(live):
    """By policy, then budget: right answers and answers."""
    cells = collections.defaultdict(lambda: collections.defaultdict(lambda: [0, 0]))
    for row in rows_of(live, "answers.csv", "kvtape live"):
        if row["correct"] != "-1":
            cell = cells[row["policy"]][row["budget"]]
            cell[0] += row["correct"] == "1"
            cell[1] += 1
    return cells


def draw_accuracy(_, live, chosen, looks):
    cells = accuracies(live)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for policy in (name for name in looks.policies if unnamed(name) in cells and chosen(name)):
        points = sorted(
            (share(budget), right / all_) for budget, (right, all_) in cells[unnamed(policy)].items() if all_
        )
        points = [point for point in points if not math.isnan(point[0])]
        if points:
            axes.plot(*zip(*points), label=policy, markersize=3.5, linewidth=1.2, **looks.of(policy))
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "budget, share of the cache", "right answers of the running model")
    legend(figure, axes, len(cells))
    return figure


def draw_profile(replay, _, chosen, looks):
    rows = [
        row
        for row in rows_of(replay, "bias.csv", "kvtape analyze")
        if row["layer"] == "" and row["kv_head"] == ""
    ]
    budgets = sorted({row["budget"] for row in rows}, key=lambda text: abs(share(text) - 0.1))
    if not budgets:
        raise Missing(f"{replay / 'bias.csv'} has no row over all heads")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for row in sorted(
        rows, key=lambda row: looks.policies.index(named(row)) if named(row) in looks.policies else 99
    ):
        if row["budget"] != budgets[0] or named(row) not in looks.policies or not chosen(named(row)):
            continue
        profile = [number(row[f"keep_profile_{bin_}"]) for bin_ in range(20)]
        axes.plot(
            [(bin_ + 0.5) / 20 for bin_ in range(20)],
            profile,
            label=named(row),
            markersize=2.5,
            linewidth=2.4 if row["policy"] == "oracle" else 1.0,
            **looks.of(named(row)),
        )
    axes.set_ylim(bottom=0)
    finish(axes, "position in the context", f"share of tokens kept at {percent(budgets[0])}")
    legend(figure, axes, len(looks.policies))
    return figure


def draw_heads(replay, _, chosen, looks):
    cells = collections.defaultdict(list)
    budgets = set()
    for row in rows_of(replay, "recall.csv", "kvtape replay"):
        budgets.add(row["budget"])
        cells[named(row), row["budget"], int(row["layer"]), int(row["kv_head"])].append(
            number(row["needle_recall"])
        )
    budget = min(budgets, key=lambda text: abs(share(text) - 0.25) if not math.isnan(share(text)) else 9)
    shown = [name for name in looks.policies if chosen(name) and any(key[0] == name for key in cells)][:9]
    layers, heads = (1 + max(key[part] for key in cells) for part in (2, 3))
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(WIDTH, 0.6 + 1.5 * lines), layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, policy in zip(grid.flat, shown):
        image = axes.imshow(
            [
                [mean(cells.get((policy, budget, layer, head), [])) for head in range(heads)]
                for layer in range(layers)
            ],
            vmin=0,
            vmax=1,
            cmap="cividis",
            aspect="auto",
        )
        axes.set_title(policy, fontsize=8)
        axes.set_xticks(range(heads), range(heads), fontsize=6)
        axes.set_yticks(range(layers), range(layers), fontsize=6)
    figure.supxlabel("KV head", fontsize=8)
    figure.supylabel("layer", fontsize=8)
    figure.colorbar(image, ax=grid, shrink=0.7, label=f"needle recall at {percent(budget)}")
    return figure


def draw_calibration(replay, live, chosen, looks):
    recalls = collections.defaultdict(list)
    for row in rows_of(replay, "summary.csv", "kvtape replay"):
        recalls[row["policy"], row["budget"], row["task"]].append(number(row["needle_recall_weighted"]))
    answers = collections.defaultdict(lambda: [0, 0])
    for row in rows_of(live, "answers.csv", "kvtape live"):
        if row["correct"] != "-1":
            cell = answers[row["policy"], row["budget"], row["task"]]
            cell[0] += row["correct"] == "1"
            cell[1] += 1
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for policy in (name for name in looks.policies if chosen(name)):
        points = [
            (mean(recalls[key]), right / all_)
            for key, (right, all_) in answers.items()
            if key[0] == unnamed(policy) and key in recalls and all_
        ]
        if points:
            look = looks.of(policy)
            axes.scatter(*zip(*points), label=policy, s=14, alpha=0.8, linewidths=0, **look)
    caption = ""
    if (live / "calibration.csv").exists():
        for row in rows_of(live, "calibration.csv", "kvtape verify"):
            if row["metric"] == "needle_recall_weighted" and row["task"] == "" and row["spearman"]:
                caption = f"Spearman {float(row['spearman']):.3f} over {row['cells']} cells"
    axes.set_title(caption, fontsize=8)
    finish(axes, "weighted needle recall, replayed", "right answers, running model")
    legend(figure, axes, len(looks.policies))
    return figure


FIGURES = {
    "recall": draw_recall,
    "accuracy": draw_accuracy,
    "profile": draw_profile,
    "heads": draw_heads,
    "calibration": draw_calibration,
}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--replay", type=pathlib.Path, required=True)
    options.add_argument("--live", type=pathlib.Path)
    options.add_argument("--out", type=pathlib.Path, required=True)
    options.add_argument("--format", choices=["pdf", "png"], default="pdf")
    options.add_argument("--policies", nargs="*", help="only these; default: all")
    given = options.parse_args()
    try:
        policies = {named(row) for row in rows_of(given.replay, "summary.csv", "kvtape replay")}
    except Missing as missing:
        sys.exit(f"drawing figures: {missing}")
    unknown = sorted(set(given.policies or []) - policies)
    if unknown:
        sys.exit(
            f"drawing figures: {given.replay} holds no policy {unknown[0]}; it holds {', '.join(sorted(policies))}"
        )
    looks = Looks(policies)
    chosen = lambda name: not given.policies or name in given.policies  # noqa: E731
    given.out.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "pdf.fonttype": 42, "savefig.dpi": 200})
    for name, draw in FIGURES.items():
        try:
            if given.live is None and name in ("accuracy", "calibration"):
                raise Missing("no folder of kvtape live was named; add --live DIR")
            figure = draw(given.replay, given.live, chosen, looks)
        except Missing as missing:
            print(f"{name}: left out: {missing}")
            continue
        path = given.out / f"{name}.{given.format}"
        # Without a date the same tables give the same bytes.
        figure.savefig(
            path, bbox_inches="tight", metadata={"CreationDate": None} if given.format == "pdf" else None
        )
        plt.close(figure)
        print(f"{name}: {path}")


if __name__ == "__main__":
    main()
