"""Draws losses.csv and accuracy.csv of a training run.

    python curves.py FOLDER PICTURE.png

Needs matplotlib besides what requirements.txt lists.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

SMOOTHED = 10  # steps of which a mean is drawn


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def draw_losses(axes, rows):
    tokens = [int(row["tokens"]) / 1e6 for row in rows]
    losses = [float(row["loss"]) for row in rows]
    means = [sum(losses[max(0, step - SMOOTHED + 1):step + 1]) / min(step + 1, SMOOTHED)
             for step in range(len(losses))]
    axes.plot(tokens, losses, color="0.8", linewidth=0.8, label="each step")
    axes.plot(tokens, means, color="C0", label=f"mean of {SMOOTHED}")
    for row, last in zip(rows[1:], rows):
        if row["length"] != last["length"]:
            axes.axvline(int(last["tokens"]) / 1e6, color="0.6", linestyle=":", linewidth=0.8)
            axes.text(int(last["tokens"]) / 1e6, max(losses), f" {row['length']}", fontsize=7, va="top")
    axes.set_yscale("log")
    axes.set_ylabel("weighted loss")
    axes.legend(frameon=False, fontsize=8)


def draw_accuracy(axes, rows):
    right, tokens = defaultdict(list), defaultdict(list)
    for row in rows:
        right[row["task"]].append(int(row["right"]) / int(row["documents"]))
        tokens[row["task"]].append(int(row["tokens"]) / 1e6)
    for number, task in enumerate(right):
        shifted = [share - 0.006 * number for share in right[task]]  # lines lie on each other
        axes.plot(tokens[task], shifted, marker="o", markersize=2.5, linewidth=0.9, label=task)
    axes.set_ylim(-0.08, 1.05)
    axes.set_ylabel("right answers")
    axes.set_xlabel("million tokens")
    axes.legend(frameon=False, fontsize=7, ncols=3, loc="lower right")


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: curves.py FOLDER PICTURE.png")
    folder, picture = map(Path, sys.argv[1:])
    try:
        losses, accuracy = rows_of(folder / "losses.csv"), rows_of(folder / "accuracy.csv")
    except OSError as problem:
        sys.exit(f"curves.py: {problem}")
    figure, (upper, lower) = plt.subplots(2, sharex=True, figsize=(8, 6), layout="constrained")
    draw_losses(upper, losses)
    draw_accuracy(lower, accuracy)
    figure.savefig(picture, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
