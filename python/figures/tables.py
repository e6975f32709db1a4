"""Reads kvtape's tables for the figures: rows, shares, and means over tasks."""

import collections
import contextlib
import csv
import json
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


NAMING = ("policy", "parameters", "schedule", "query_source")


def summary_rows(replay, *numbers):
    texts = (*NAMING, "budget", "task")
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


def flattened(parameters):
    """The parameters of a policy and of what it wraps, by name; of equal names the outermost counts."""
    base = parameters.get("base_parameters")
    own = {name: value for name, value in parameters.items() if name not in ("base", "base_parameters")}
    return own if base is None else {**flattened(base), **own}


def parameters_of(row):
    try:
        return flattened(json.loads(row["parameters"]))
    except (ValueError, AttributeError) as error:
        broken = f"the parameters of {row['policy']}, {row['parameters']}, are no object of JSON"
        raise Missing(f"{broken}; write the tables again with kvtape replay") from error


class Names:
    """What each policy is called in every figure: its spec, its queries unless these are the usual ones, and,
    where that is not enough to tell two apart, the parameters that differ and the schedule."""

    def __init__(self, replay, live=None):
        rows = summary_rows(replay)
        with contextlib.suppress(Missing):  # the figures that need it will say what is wrong with it
            rows += rows_of(live, "index.csv", "kvtape live", NAMING) if live is not None else []
        alike = collections.defaultdict(dict)
        for row in rows:
            alike[self._key(row)][row["parameters"], row["schedule"]] = parameters_of(row)
        self._differing, self._scheduled = {}, set()
        for key, settings in alike.items():
            every = sorted({name for parameters in settings.values() for name in parameters})
            values = {name: {json.dumps(of.get(name)) for of in settings.values()} for name in every}
            self._differing[key] = [name for name in every if len(values[name]) > 1]
            if len({schedule for _, schedule in settings}) > 1:
                self._scheduled.add(key)

    @staticmethod
    def _key(row):
        source = row["query_source"]
        return row["policy"], "" if source == "agnostic" or row["policy"] == "oracle" else source

    def of(self, row):
        key = self._key(row)
        marks = [key[1]] if key[1] else []
        differing = self._differing.get(key)
        if differing:
            parameters = parameters_of(row)
            marks += [f"{name}={parameters[name]}" for name in differing if name in parameters]
        if key in self._scheduled:
            marks.append(row["schedule"])
        return f"{row['policy']} ({', '.join(marks)})" if marks else row["policy"]


def over_tasks(replay, names, *columns):
    """By name and budget: the columns of summary.csv, each task weighing as its sequences; a task that has no value
    of a column is not in its mean."""
    cells = collections.defaultdict(list)
    for row in summary_rows(replay, *columns):
        cells[names.of(row), row["budget"]].append(row)
    means = {}
    for key, rows in cells.items():
        means[key] = tuple(weighted_mean(rows, column) for column in columns)
    return means


def weighted_mean(rows, column):
    known = [row for row in rows if not math.isnan(row[column])]
    sequences = sum(row["sequences"] for row in known)
    return sum(row["sequences"] * row[column] for row in known) / sequences if known else math.nan


def intervals_of_recall(replay, names):
    """By name and budget: the ends of the 95 % interval of weighted recall; over several tasks those of pareto.csv."""
    ends = ("needle_recall_weighted_low", "needle_recall_weighted_high")
    rows = summary_rows(replay, *ends)
    if len({row["task"] for row in rows}) > 1:
        rows = rows_of(replay, "pareto.csv", "kvtape analyze", (*NAMING, "budget", "task"), ends)
        rows = [row for row in rows if row["task"] == "all"]
    return {(names.of(row), row["budget"]): tuple(row[end] for end in ends) for row in rows}


def answers_of(live, names):
    """By name, budget and task: right answers and answers."""
    setting = ("policy", "parameters", "budget", "schedule")
    index = rows_of(live, "index.csv", "kvtape live", (*setting, "query_source"))
    known = {tuple(row[column] for column in setting): names.of(row) for row in index}
    cells = collections.defaultdict(lambda: [0, 0])
    for row in rows_of(live, "answers.csv", "kvtape live", (*setting, "task"), ("correct",)):
        name = known.get(tuple(row[column] for column in setting))
        if name is None:
            unknown = f"{row['policy']} at {row['budget']} of answers.csv"
            raise Missing(f"{live / 'index.csv'} does not know {unknown}; run kvtape live again")
        if row["correct"] >= 0:
            cell = cells[name, row["budget"], row["task"]]
            cell[0] += row["correct"] == 1
            cell[1] += 1
    return cells


def drawn_policies(replay, names, wanted):
    """The names of the replay that the list asks for: a bare spec is that policy with any queries."""
    policies = {names.of(row): row["policy"] for row in summary_rows(replay)}
    if wanted is None:
        return set(policies)
    drawn, parts = set(), separated(wanted)
    while parts:
        found, used = longest_name(parts, policies)
        if not found:
            raise Missing(f"{replay} holds no policy {parts[0]}; it holds {', '.join(sorted(policies))}")
        drawn |= found
        del parts[:used]
    return drawn


def longest_name(parts, policies):
    """The policies that as many first parts as can be name: a spec has commas between parameters."""
    for used in range(len(parts), 0, -1):
        name = ",".join(parts[:used])
        found = {policy for policy, bare in policies.items() if name in (policy, bare)}
        if found:
            return found, used
    return set(), 0


def separated(names):
    """Names between commas, but for commas in parentheses."""
    parts, depth = [""], 0
    for character in names:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
