"""Draws the figures of a paper from kvtape's tables.

    python3 python/figures/figures.py --replay DIR [--live DIR] --out FOLDER [--format pdf|png] [--policies NAME,...]

A policy that stands in the tables with several settings is drawn once for each, and its name says what differs.
Figures whose tables are missing, or of another version, are left out, and the program says which and why:

    recall       weighted needle recall against the share that is kept, with 95 % intervals where kvtape analyze was run
    accuracy     right answers of the running model against the share that is kept, with 95 % intervals (Wilson)
    profile      which positions are kept, against the oracle
    heads        where the needle is kept, layer by KV head
    calibration  what replay predicts against what the running model answers
"""

import argparse
import collections
import math
import pathlib
import sys

from looks import MOST_WITH_INTERVALS, WIDTH, Looks, band, bars, draw_shares, finish, legend, note, plt
from tables import (
    NAMING,
    Missing,
    Names,
    answers_of,
    drawn_policies,
    intervals_of_recall,
    mean,
    nearest,
    over_tasks,
    percent,
    rows_of,
    summary_rows,
    wilson,
)

MOST_MAPS = 9


def draw_recall(replay, _, looks):
    intervals = {}
    try:
        intervals = intervals_of_recall(replay, looks.names)
    except Missing as missing:
        if looks.with_intervals:
            note("recall", f"without intervals: {missing}")
    lines = collections.defaultdict(list)
    for key, (kept, recall) in over_tasks(
        replay, looks.names, "kept_ratio", "needle_recall_weighted"
    ).items():
        if key[0] in looks.policies and not math.isnan(kept + recall):
            lines[key[0]].append((kept, recall, *intervals.get(key, (math.nan, math.nan))))
    return draw_shares("recall", lines, looks, "weighted needle recall", band)


def draw_accuracy(replay, live, looks):
    kept = over_tasks(replay, looks.names, "kept_ratio")
    totals = collections.defaultdict(lambda: [0, 0])
    for (policy, budget, _), (right, answers) in answers_of(live, looks.names).items():
        totals[policy, budget][0] += right
        totals[policy, budget][1] += answers
    lines, elsewhere = collections.defaultdict(list), []
    for (policy, budget), (right, answers) in totals.items():
        if (policy, budget) not in kept:
            elsewhere.append(f"{policy} at {budget}")
        elif policy in looks.policies:
            lines[policy].append((*kept[policy, budget], right / answers, *wilson(right, answers)))
    if elsewhere:
        some = ", ".join(elsewhere[:3]) + (", ..." if len(elsewhere) > 3 else "")
        count = f"{len(elsewhere)} of {len(totals)} results"
        note("accuracy", f"without {count}, of which the replay does not say what is kept: {some}")
    return draw_shares("accuracy", lines, looks, "right answers of the running model", bars)


def draw_profile(replay, _, looks):
    bins = [f"keep_profile_{bin_}" for bin_ in range(20)]
    texts = (*NAMING, "budget", "layer", "kv_head")
    rows = [
        row
        for row in rows_of(replay, "bias.csv", "kvtape analyze", texts, bins)
        if row["layer"] == "" and row["kv_head"] == "" and looks.names.of(row) in looks.policies
    ]
    if not rows:
        raise Missing(f"{replay / 'bias.csv'} has no row over all heads")
    budget = nearest({row["budget"] for row in rows}, 0.1)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for row in sorted(rows, key=lambda row: looks.policies.index(looks.names.of(row))):
        if row["budget"] == budget:
            axes.plot(
                [(bin_ + 0.5) / 20 for bin_ in range(20)],
                [row[bin_] for bin_ in bins],
                label=looks.names.of(row),
                markersize=2.5,
                linewidth=2.4 if row["policy"] == "oracle" else 1.0,
                **looks.line(looks.names.of(row)),
            )
    axes.set_ylim(bottom=0)
    finish(axes, "position in the context", f"share of tokens kept at {percent(budget)}")
    legend(figure, axes)
    return figure


def draw_heads(replay, _, looks):
    cells = collections.defaultdict(list)
    budgets = set()
    texts = (*NAMING, "budget")
    for row in rows_of(replay, "recall.csv", "kvtape replay", texts, ("layer", "kv_head", "needle_recall")):
        budgets.add(row["budget"])
        cells[looks.names.of(row), row["budget"], int(row["layer"]), int(row["kv_head"])].append(
            row["needle_recall"]
        )
    held = {key[0] for key in cells}
    shown = [name for name in looks.policies if name in held]
    if not shown:
        raise Missing(f"{replay / 'recall.csv'} has no row of a policy that is drawn")
    if len(shown) > MOST_MAPS:
        note("heads", f"maps of the first {MOST_MAPS} of {len(shown)} policies; --policies chooses others")
    shown = shown[:MOST_MAPS]
    budget = nearest(budgets, 0.25)
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


def draw_calibration(replay, live, looks):
    recalls = collections.defaultdict(list)
    for row in summary_rows(replay, "needle_recall_weighted"):
        recalls[looks.names.of(row), row["budget"], row["task"]].append(row["needle_recall_weighted"])
    answers = answers_of(live, looks.names)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for policy in looks.policies:
        points = [
            (mean(recalls[key]), right / all_)
            for key, (right, all_) in answers.items()
            if key[0] == policy and key in recalls
        ]
        if points:
            axes.scatter(*zip(*points), label=policy, s=14, alpha=0.8, linewidths=0, **looks.of(policy))
    caption = ""
    if (live / "calibration.csv").exists():
        texts = ("metric", "task", "cells")
        for row in rows_of(live, "calibration.csv", "kvtape verify", texts, ("spearman",)):
            over_all = row["metric"] == "needle_recall_weighted" and row["task"] == "all"
            if over_all and not math.isnan(row["spearman"]):
                caption = f"Spearman {row['spearman']:.3f} over {row['cells']} cells of all policies"
    axes.set_title(caption, fontsize=8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "weighted needle recall, replayed", "right answers, running model")
    legend(figure, axes)
    return figure


FIGURES = {
    "recall": draw_recall,
    "accuracy": draw_accuracy,
    "profile": draw_profile,
    "heads": draw_heads,
    "calibration": draw_calibration,
}


def read_options():
    options = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__[__doc__.index("A policy that") :],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder = {"type": pathlib.Path, "metavar": "DIR"}
    options.add_argument(
        "--replay",
        required=True,
        help="folder of kvtape replay; the keep profile needs kvtape analyze over it",
        **folder,
    )
    options.add_argument(
        "--live",
        help="folder of kvtape live, for accuracy and calibration; after kvtape verify the figure of calibration "
        "names Spearman's correlation",
        **folder,
    )
    options.add_argument(
        "--out",
        type=pathlib.Path,
        required=True,
        metavar="FOLDER",
        help="where the figures go, one file each; made where it is not there",
    )
    options.add_argument(
        "--format",
        choices=["pdf", "png"],
        default="pdf",
        help="pdf (the default), or png at 200 dots per inch",
    )
    options.add_argument(
        "--policies",
        metavar="NAME,...",
        help="draw these alone, as summary.csv or a legend names them; all by default, and more than "
        f"{MOST_WITH_INTERVALS} without intervals",
    )
    return options.parse_args()


def main():
    given = read_options()
    try:
        names = Names(given.replay, given.live)
        looks = Looks(names, drawn_policies(given.replay, names, given.policies))
    except Missing as missing:
        sys.exit(f"drawing figures: {missing}")
    given.out.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update({"font.size": 9, "pdf.fonttype": 42, "savefig.dpi": 200})
    for name, draw in FIGURES.items():
        try:
            if given.live is None and name in ("accuracy", "calibration"):
                raise Missing("no folder of kvtape live was named; add --live DIR")
            figure = draw(given.replay, given.live, looks)
        except Missing as missing:
            note(name, f"left out: {missing}")
            continue
        path = given.out / f"{name}.{given.format}"
        # Without a date the same tables give the same bytes.
        figure.savefig(
            path, bbox_inches="tight", metadata={"CreationDate": None} if given.format == "pdf" else None
        )
        plt.close(figure)
        note(name, path)


if __name__ == "__main__":
    main()
