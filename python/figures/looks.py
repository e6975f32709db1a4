"""What the figures have in common: colours and marks of the policies, axes, legends, lines with intervals."""

import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib import ticker  # noqa: E402
from tables import Missing  # noqa: E402

# Okabe and Ito's colours, which most colour-blind readers tell apart. Seven markers beside eight
# colours give 56 pairs before one comes again.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933"]
MARKERS = ["o", "s", "^", "v", "D", "P", "X"]
DASHES = ["-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2))]
WIDTH = 5.5  # inches, a text column
MOST_WITH_INTERVALS = 8  # policies in one figure
TICKS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1]


class Looks:
    """The policies that are drawn, and one colour, marker and dash for each in all figures."""

    def __init__(self, names, policies):
        self.names = names
        self.policies = sorted(policies, key=lambda name: (name not in ("full", "oracle"), name))
        self.with_intervals = len(self.policies) <= MOST_WITH_INTERVALS

    def of(self, policy):
        index = self.policies.index(policy)
        return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}

    def line(self, policy):
        turn = self.policies.index(policy) // len(COLOURS)
        return {"linestyle": DASHES[turn % len(DASHES)], **self.of(policy)}


def note(figure, text):
    print(f"{figure}: {text}")


def finish(axes, xlabel, ylabel):
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def legend(figure, axes):
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=3,
        handlelength=3.2,
        frameon=False,
        fontsize=8 if len(labels) < 13 else 7,
    )


def percent_axis(axes, shares):
    """A logarithmic axis over shares, labelled in plain percent."""
    low, high = 0.9 * min(shares), 1.1 * max(shares)
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) < 2:
        ticks = TICKS[-2:]
        for below, above in zip(TICKS, TICKS[1:]):
            if below <= max(shares) and low <= above:
                ticks = [below, above]
                break
        low, high = min(low, 0.9 * ticks[0]), max(high, 1.1 * ticks[1])
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(ticker.FixedLocator(ticks))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def draw_shares(name, lines, looks, ylabel, interval):
    """Lines of (kept, value, low, high) by policy, with intervals unless they would hide the lines."""
    if not lines:
        raise Missing("no policy that is drawn has a value")
    figure, axes = plt.subplots(figsize=(WIDTH, 3.9), layout="constrained")
    for policy in (policy for policy in looks.policies if policy in lines):
        # A policy that keeps the same at several budgets has the same point several times.
        kept, values, low, high = zip(*sorted(set(lines[policy])))
        look = looks.line(policy)
        axes.plot(kept, values, label=policy, markersize=3.5, linewidth=1.2, **look)
        if looks.with_intervals and not any(math.isnan(end) for end in low + high):
            interval(axes, kept, values, low, high, look["color"])
    if not looks.with_intervals:
        few = f"--policies draws up to {MOST_WITH_INTERVALS} with them"
        note(name, f"without intervals, which of {len(looks.policies)} policies cover each other; {few}")
    percent_axis(axes, [point[0] for points in lines.values() for point in points])
    axes.set_ylim(-0.02, 1.02)
    finish(axes, "share of the cache that is kept", ylabel)
    legend(figure, axes)
    return figure


def band(axes, kept, _, low, high, colour):
    axes.fill_between(kept, low, high, color=colour, alpha=0.12, linewidth=0)


def bars(axes, kept, values, low, high, colour):
    # A bar ends at the value where rounding puts it beyond.
    below = [max(0, value - end) for value, end in zip(values, low)]
    above = [max(0, end - value) for value, end in zip(values, high)]
    look = {"fmt": "none", "ecolor": colour, "elinewidth": 0.8, "capsize": 2, "alpha": 0.6}
    axes.errorbar(kept, values, yerr=[below, above], **look)
