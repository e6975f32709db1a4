"""Reads kvtape's tables for the figures: rows, shares, and means over tasks."""

import collections
import csv
import math


class Missing(Exception):
    """Why a figure cannot be drawn."""


def rows_of(folder, name, maker, texts, numbers=()):
    """The rows of a table, with these columns; those of `numbers` as floats, NaN where a field is empty."""
    path = folder / name
    if not path.exists():
        raise Missing(f"{path} is not there; {maker} writes it")
    again = f"write it again with {maker}"
    rows = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            for column in (*texts, *numbers):
                if column not in (reader.fieldnames or []):
                    raise Missing(f"{path} has no column {column}, so another version wrote it; {again}")
            for row in reader:
                if None in row or None in row.values():
                    line = f"line {reader.line_num}: not as many fields as the header"
                    raise Missing(f"{path}, {line}; {again}")
                for column in numbers:
                    row[column] = float(row[column] or "nan")
                rows.append(row)
    except (OSError, ValueError, csv.Error) as error:
        raise Missing(f"{path} cannot be read: {error}; {again}") from error
    return rows


def summary_rows(replay, *numbers):
    texts = ("policy", "query_source", "budget", "task")
    return rows_of(replay, "summary.csv", "kvtape replay", texts, ("sequences", *numbers))


def mean(values):
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def wilson(right, total):
    """Wilson's score interval of a share, at 95 %."""
    z, found = 1.96, right / total
    centre = found + z * z / (2 * total)
    half = z * math.sqrt(found * (1 - found) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0, (centre - half) / scale), min(1, (centre + half) / scale)


def share(budget):
    """A budget as a share of the context, or NaN where it is tokens or bytes."""
    if budget.endswith("%"):
        return float(budget[:-1]) / 100
    return float(budget) if budget.replace(".", "", 1).isdigit() else math.nan


def percent(budget):
    return budget if math.isnan(share(budget)) else f"{100 * share(budget):.3g} %"


def nearest(budgets, wanted):
    """The budget nearest to a share; one in tokens or bytes only where there is no other."""
    shares = {budget: share(budget) for budget in sorted(budgets)}
    known = [budget for budget in shares if not math.isnan(shares[budget])]
    return min(known or shares, key=lambda budget: abs(shares[budget] - wanted))


def named(row):
    source = row["query_source"]
    return (
        row["policy"] if source == "agnostic" or row["policy"] == "oracle" else f"{row['policy']} ({source})"
    )


def over_tasks(replay, *columns):
    """By policy and budget: the columns of summary.csv, each task weighing as its sequences."""
    cells = collections.defaultdict(list)
    for row in summary_rows(replay, *columns):
        cells[named(row), row["budget"]].append(row)
    means = {}
    for key, rows in cells.items():
        sequences = sum(row["sequences"] for row in rows)
        means[key] = tuple(
            sum(row["sequences"] * row[column] for row in rows) / sequences for column in columns
        )
    return means


def answers_of(live):
    """By policy, budget and task: right answers and answers."""
    setting = ("policy", "parameters", "budget", "schedule")
    index = rows_of(live, "index.csv", "kvtape live", (*setting, "query_source"))
    names = {tuple(row[column] for column in setting): named(row) for row in index}
    cells = collections.defaultdict(lambda: [0, 0])
    for row in rows_of(live, "answers.csv", "kvtape live", (*setting, "task"), ("correct",)):
        name = names.get(tuple(row[column] for column in setting))
        if name is None:
            unknown = f"{row['policy']} at {row['budget']} of answers.csv"
            raise Missing(f"{live / 'index.csv'} does not know {unknown}; run kvtape live again")
        if row["correct"] >= 0:
            cell = cells[name, row["budget"], row["task"]]
            cell[0] += row["correct"] == 1
            cell[1] += 1
    return cells


def drawn_policies(replay, wanted):
    """The policies of the replay that the list asks for: a bare name is that policy with any queries."""
    rows = rows_of(replay, "summary.csv", "kvtape replay", ("policy", "query_source"))
    policies = {named(row): row["policy"] for row in rows}
    if wanted is None:
        return set(policies)
    drawn = set()
    for name in (part.strip() for part in wanted.split(",")):
        found = {policy for policy, bare in policies.items() if name in (policy, bare)}
        if not found:
            raise Missing(f"{replay} holds no policy {name}; it holds {', '.join(sorted(policies))}")
        drawn |= found
    return drawn
