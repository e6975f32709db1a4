"""Tables of docs/claims.md out of the CSV files that kvtape writes; needs Python's standard library alone.

    tables.py kept REPLAY SPEC            the tokens per head that SPEC kept, as a list of budgets
    tables.py values REPLAY [reversed]    how much each head reads the needle, as a file of head values
    tables.py recall REPLAY               weighted needle recall of every result, task by task, and plain recall in the
                                          two heads that read the needle most
    tables.py answers REPLAY LIVE         right answers of the running model
    tables.py digits LIVE TASK            leading digits of the answer that are right
    tables.py bias REPLAY                 which positions each score prefers
    tables.py pairs REPLAY SPEC           SPEC against every other policy that kept the same
    tables.py sweep REPLAY PARAMETER      one parameter swept
    tables.py heads REPLAY                how alike heads are, and how many hold the needle
    tables.py differences REPLAY SPEC     how sparse each head's attention is, and how much of what SPEC evicts could merge
    tables.py readers REPLAY              in how many heads the reading of the needle is concentrated
    tables.py remembering REPLAY LIVE     right answers by how many heads keep everything: of all policies, and of
                                          duo_attention:file=NAME in a column for each NAME

REPLAY is a folder of `kvtape replay` (after `kvtape analyze` for bias, pairs, sweep, heads, differences), LIVE one of `kvtape live`.
Intervals are at 95 %: those of kvtape's tables; Wilson's for counts of answers; for digits and readers (recall in the
best readers too) a percentile bootstrap over sequences.
"""

import collections
import csv
import math
import pathlib
import random
import re
import sys

RESAMPLES = 10000


def rows_of(folder, name):
    with (pathlib.Path(folder) / name).open(newline="") as file:
        return list(csv.DictReader(file))


def mean(values):
    return sum(values) / len(values)


def interval(low, high, digits=2):
    return f"{low:.{digits}f}..{high:.{digits}f}"


def estimate(row, column, digits=2):
    """A mean with its interval, as kvtape's tables hold them."""
    if row[column] == "":
        return ""
    text = f"{float(row[column]):.{digits}f}"
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    return text if low == "" else f"{text} ({interval(float(low), float(high), digits)})"


def wilson(right, total):
    z, share = 1.959963984540054, right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0, centre - half), min(1, centre + half)


def bootstrapped(values):
    """The mean of one value per sequence, with its interval where there are four or more."""
    text = f"{mean(values):.2f}"
    if len(values) < 4:
        return text
    draws = random.Random(0)
    means = sorted(mean(draws.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return f"{text} ({interval(means[RESAMPLES // 40], means[-RESAMPLES // 40 - 1])})"


def share(text):
    return f"{100 * float(text):.1f} %"


def show(heading, rows):
    print("| " + " | ".join(heading) + " |")
    print("|" + "---|" * len(heading))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def code(spec):
    return f"`{spec}`"


def grouped(rows, *columns):
    groups = collections.defaultdict(list)
    for row in rows:
        groups[tuple(row[column] for column in columns)].append(row)
    return groups


# Recall says of every result what it kept, so other tables take that from there.
RESULT = ("policy", "budget", "schedule")


def kept_shares(folder):
    """The share of tokens that each result kept, over all of its tasks."""
    shares = {}
    for key, rows in grouped(rows_of(folder, "recall.csv"), *RESULT).items():
        shares[key] = sum(int(r["kept"]) for r in rows) / sum(int(r["tokens"]) for r in rows)
    return shares


def kept(folder, spec):
    counts = grouped((r for r in rows_of(folder, "recall.csv") if r["policy"] == spec), "budget")
    tokens = {round(mean([int(r["kept"]) for r in rows])) for rows in counts.values()}
    if not tokens:
        raise SystemExit(f"{folder} holds no result of {spec}")
    print(",".join(f"{count}t" for count in sorted(tokens)))


def values(folder, order="reading"):
    rows = [row for row in rows_of(folder, "recall.csv") if row["policy"] == "full"]
    read = {(int(layer), int(head)): value for (layer, head), value in attention(rows).items()}
    if order == "reversed":
        read = {head: max(read.values()) - value for head, value in read.items()}
    for layer in range(1 + max(layer for layer, _ in read)):
        print(",".join(repr(read[head]) for head in sorted(read) if head[0] == layer))


def attention(rows):
    """How much each head reads the needle, mean over sequences; it is the same under every policy."""
    heads = grouped(rows, "layer", "kv_head")
    return {head: mean([float(r["needle_recall_weight"]) for r in of]) for head, of in heads.items()}


def in_readers(folder):
    """Of every result the needle recall in the two heads that read the needle most."""
    rows = rows_of(folder, "recall.csv")
    read = attention(rows)
    best = sorted(read, key=lambda head: (-read[head], head))[:2]
    found = {}
    for key, of in grouped((r for r in rows if (r["layer"], r["kv_head"]) in best), *RESULT, "query_source").items():
        found[key] = bootstrapped([mean([float(r["needle_recall"]) for r in s]) for s in grouped(of, "sequence").values()])
    return found


def recall(folder):
    readers_hold = in_readers(folder)
    results = grouped(rows_of(folder, "summary.csv"), *RESULT, "query_source")
    tasks = sorted({row["task"] for rows in results.values() for row in rows})
    lines = []
    for key, rows in results.items():
        policy, budget, _, source = key
        of = {row["task"]: row for row in rows}
        cells = [estimate(of[task], "needle_recall_weighted") if task in of else "" for task in tasks]
        line = [code(policy), source, budget, share(mean([float(r["kept_ratio"]) for r in rows])), *cells, readers_hold[key]]
        lines.append((policy, float(line[3][:-2]), line))
    show(["policy", "queries", "budget", "kept", *tasks, "in the two best readers"],
         [line for *_, line in sorted(lines, key=lambda l: l[:2])])


def answered(rows):
    right, total = sum(row["correct"] == "1" for row in rows), len(rows)
    return f"{right}/{total} ({interval(*wilson(right, total))})"


def answers(replayed, live):
    shares = kept_shares(replayed)
    results = grouped((r for r in rows_of(live, "answers.csv") if r["correct"] != "-1"), *RESULT)
    tasks = sorted({row["task"] for rows in results.values() for row in rows})
    lines = []
    for key, rows in results.items():
        of = grouped(rows, "task")
        cells = [answered(of[task,]) if (task,) in of else "" for task in tasks]
        total = [answered(rows)] if len(tasks) > 1 else []
        held = shares.get(key)
        line = [code(key[0]), key[1], key[2], "" if held is None else share(held), *cells, *total]
        lines.append((key[0], key[2], held or 0, line))
    every = ["all"] if len(tasks) > 1 else []
    show(["policy", "budget", "schedule", "kept", *tasks, *every], [line for *_, line in sorted(lines)])


def leading(row):
    """The share of the answer's digits before the first wrong one."""
    said = re.search(r"\d+", row["generated_text"])
    digits = said.group() if said else ""
    wrong = next((i for i, digit in enumerate(row["answer"]) if digits[i : i + 1] != digit), len(row["answer"]))
    return wrong / len(row["answer"])


def digits(live, task):
    results = grouped((r for r in rows_of(live, "answers.csv") if r["task"] == task), "policy", "budget")
    lines = [[code(policy), budget, bootstrapped([leading(row) for row in rows])]
             for (policy, budget), rows in results.items()]
    show(["policy", "budget", "leading digits right"], sorted(lines))


def bias(folder):
    lines = []
    for row in rows_of(folder, "bias.csv"):
        if row["layer"] == "" and row["kv_head"] == "":
            figures = [estimate(row, column, 3) for column in ("position_correlation", "keep_slope")]
            ends = [row[f"keep_profile_{bin}"] for bin in (0, 19)]
            kept_ends = [share(end) if end else "by rule" for end in ends]
            lines.append([code(row["policy"]), row["budget"], *figures, *kept_ends, estimate(row, "bias_vs_oracle", 3)])
    show(["policy", "budget", "position correlation", "keep slope", "kept of the first twentieth", "of the last",
          "distance to the oracle"], sorted(lines))


def pairs(folder, spec):
    lines = []
    for row in rows_of(folder, "compare.csv"):
        if row["metric"] != "needle_recall_weighted" or spec not in (row["policy_a"], row["policy_b"]):
            continue
        if "full" in (row["policy_a"], row["policy_b"]):
            continue
        this, other, sign = ("a", "b", 1) if row["policy_a"] == spec else ("b", "a", -1)
        ends = [sign * float(row[f"difference_{end}"]) for end in ("low", "high") if row["difference_low"]]
        difference = f"{sign * float(row['difference']):+.2f}" + (f" ({interval(*sorted(ends))})" if ends else "")
        counts = (row["wins"], row["ties"], row["losses"])[::sign]
        lines.append([row["task"], code(row[f"policy_{other}"]), share(row[f"kept_ratio_{this}"]),
                      share(row[f"kept_ratio_{other}"]), difference, "/".join(counts)])
    heading = ["task", f"{code(spec)} against", "kept", "it kept", "difference", "better/same/worse"]
    show(heading, sorted(lines, key=lambda line: (line[0], float(line[2][:-2]), line[1])))


def sweep(folder, parameter):
    lines = [[row["task"], row["value"], row["budget"], share(row["kept_ratio"]),
              estimate(row, "needle_recall_weighted"), estimate(row, "difference")]
             for row in rows_of(folder, f"by-{parameter}.csv")]
    show(["task", parameter, "budget", "kept", "weighted needle recall", "against the first"], lines)


def heads(folder):
    intact = grouped(rows_of(folder, "summary.csv"), *RESULT, "query_source")
    total = len({(row["layer"], row["kv_head"]) for row in rows_of(folder, "recall.csv")})
    lines = []
    for row in rows_of(folder, "heads.csv"):
        if row["layer"] == "" and row["kv_head"] == "":
            key = tuple(row[column] for column in (*RESULT, "query_source"))
            holding = total * mean([float(r["needle_intact_heads"]) for r in intact[key]])
            alike = [estimate(row, f"effective_heads_{kind}") for kind in ("kept", "keys", "values")]
            lines.append([code(row["policy"]), row["budget"], f"{holding:.1f} of {total}",
                          estimate(row, "kept_jaccard"), *alike])
    show(["policy", "budget", "heads that hold the whole needle", "Jaccard of kept sets",
          "different heads: kept", "keys", "values"], sorted(lines))


def differences(folder, policy):
    rows = [row for row in rows_of(folder, "heads.csv") if row["policy"] == policy and row["kv_head"] != ""]
    lines = []
    for column, what in (("mass95", "share of the tokens with 95 % of the attention"),
                         ("mergeable", f"share of what `{policy}` evicts that a kept token resembles")):
        order = sorted((row for row in rows if row[column] != ""), key=lambda row: float(row[column]))
        cells = []
        for place in (0, len(order) // 2, len(order) - 1):
            row = order[place]
            cells.append(f"{estimate(row, column)}, layer {row['layer']} head {row['kv_head']}")
        lines.append([what, *cells])
    show(["figure", "the head with least", "the middle one", "the head with most"], lines)


def readers(folder):
    """Heads are put in order over all sequences, so a sequence cannot choose its own."""
    rows = [r for r in rows_of(folder, "recall.csv") if r["policy"] == "full"]
    first = {row["budget"] for row in rows}.pop()
    rows = [row for row in rows if row["budget"] == first]
    read = attention(rows)
    order = sorted(read, key=lambda head: (-read[head], head))
    sequences = [{(r["layer"], r["kv_head"]): float(r["needle_recall_weight"]) for r in of}
                 for of in grouped(rows, "sequence").values()]
    lines = []
    for best in (1, 2, 3, 4, 6, 8, 12, 18, 24):
        if best <= len(order):
            held = [sum(s[head] for head in order[:best]) / sum(s.values()) for s in sequences if sum(s.values())]
            layer, head = order[best - 1]
            lines.append([str(best), f"layer {layer}, head {head}", f"{read[order[best - 1]]:.3f}", bootstrapped(held)])
    show(["best readers", "the last of them", "attention it pays to the needle", "share of all such attention"], lines)


def remembering(replayed, live):
    whole = collections.Counter()
    for row in rows_of(replayed, "recall.csv"):
        if row["sequence"] == "0000":
            whole[row["policy"], row["budget"]] += row["kept"] == row["tokens"]
    table = collections.defaultdict(dict)
    for key, rows in grouped((r for r in rows_of(live, "answers.csv")), "policy", "budget").items():
        name = re.search(r"file=(\w+)", key[0])
        table[whole[key]][name.group(1) if name else "any"] = answered(rows)
    names = sorted({name for row in table.values() for name in row} - {"any"})
    show(["heads that keep everything", *names],
         [[str(k), *(table[k].get(name, table[k].get("any", "")) for name in names)] for k in sorted(table)])


COMMANDS = {function.__name__: function
            for function in (kept, values, recall, answers, digits, bias, pairs, sweep, heads, differences, readers,
                          remembering)}


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in COMMANDS:
        raise SystemExit(__doc__)
    csv.field_size_limit(1 << 30)
    COMMANDS[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
