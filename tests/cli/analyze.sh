#!/usr/bin/env bash
# A folder of results becomes tables: their columns, threads, what is missing or damaged, bad input.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

# expect_partial CODE PATTERN ARGUMENT...: kvtape says one line that matches, exits with CODE, and
# still writes the tables that do not need what is missing.
expect_partial() {
    local code=0 expected=$1 pattern=$2
    shift 2
    "$program" "$@" >stdout 2>stderr </dev/null || code=$?
    ((code == expected)) || complain "kvtape $*: exit $code, expected $expected: $(head -c 400 stderr)"
    (($(wc -l <stderr) == 1)) || complain "kvtape $*: $(wc -l <stderr) lines on stderr: $(cat stderr)"
    grep -qE "^kvtape: .*($pattern)" stderr || complain "kvtape $*: '$(cat stderr)' does not match '$pattern'"
}

expect_success replay "$small" --policy full --policy random --policy oracle --policy snapkv \
    --policy ems --policy lagkv:lag=16 --policy lagkv:lag=32 --budget 10%,25%,100% --scores --out all
expect_success replay "$small" --policy snapkv --query-source question --budget 10%,25% --scores --out all
expect_success analyze all --by lag --threads 1
cp -r all one
expect_success analyze all --by lag --threads 3 --quiet
[[ ! -s stderr ]] || complain "--quiet says: $(cat stderr)"
for table in all/*.csv; do
    cmp -s "$table" "one/${table#all/}" || complain "threads change $table"
done
for table in bias heads damage paged compare pareto queries by-lag; do
    [[ -s all/$table.csv ]] || complain "$table.csv is not there"
done
python3 - all <<'PYTHON' || complain 'the tables do not hold what they should'
import csv
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
csv.field_size_limit(1 << 30)


def read(name):
    with open(root / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


bias = read("bias")
over_all = [row for row in bias if not row["layer"]]
results = {(row["policy"], row["budget"], row["query_source"]) for row in read("index")}
assert len(over_all) == len(results) == 23, (len(over_all), len(results))
for row in bias:
    for bin in range(20):
        assert not row[f"keep_profile_{bin}"] or 0 <= float(row[f"keep_profile_{bin}"]) <= 1
    assert not row["position_correlation"] or -1 <= float(row["position_correlation"]) <= 1
    if row["policy"] == "oracle":
        assert float(row["bias_vs_oracle"]) == 0, row
full = [row for row in over_all if row["policy"] == "full"]
assert all(float(row["keep_slope"]) == 0 for row in full)
assert all(not row["position_correlation"] for row in full)

measured = {}
for row in read("recall"):
    key = tuple(row[c] for c in ("policy", "budget", "query_source", "layer", "kv_head"))
    measured.setdefault(key, []).append(row)


def recorded(row, column):
    key = tuple(row[c] for c in ("policy", "budget", "query_source", "layer", "kv_head"))
    return sum(float(r[column]) for r in measured[key]) / len(measured[key])


# What replay measured is what analyze finds over all probes, head by head.
damage = read("damage")
for row in damage:
    if row["kv_head"] and row["probes"] == "all":
        for column in ("mass_kept", "output_error_median", "output_error_p95"):
            assert abs(float(row[column]) - recorded(row, column)) < 1e-12, (column, row)
    if row["policy"] == "full":
        assert float(row["mass_kept"]) == 1 and float(row["output_error_p95"]) == 0
        assert float(row["leave_one_out_max"]) == 0 and float(row["leave_one_out_kept"]) == 1
assert {row["probes"] for row in damage} == {"question", "answer", "all"}
for row in read("paged"):
    assert float(row["held_ratio"]) >= float(row["kept_ratio"]) - 1e-12
    if row["kv_head"]:
        assert abs(float(row["mass_kept"]) - recorded(row, "mass_kept")) < 1e-9, row
        assert abs(float(row["needle_recall"]) - recorded(row, "needle_recall")) < 1e-12, row
heads = read("heads")
for row in heads:
    assert 1 - 1e-9 <= float(row["effective_heads_kept"]) <= 4 + 1e-9, row
    if row["policy"] == "full":
        assert float(row["kept_jaccard"]) == 1 and row["mergeable"] == ""
    if row["kv_head"]:
        assert row["most_alike"] != row["kv_head"]

pareto = read("pareto")
recall = {(row["policy"], row["budget"], row["query_source"], row["task"]): row for row in read("summary")}
for row in pareto:
    summary = recall.get((row["policy"], row["budget"], row["query_source"], row["task"]))
    if summary:
        for column in ("needle_recall_weighted", "needle_recall_weighted_low", "kept_bytes_ratio"):
            assert row[column] == summary[column], (column, row, summary)
    assert (row["on_front"] == "") == (row["query_source"] == "oracle")
    assert (row["on_front"] == "0") == (row["dominated_by"] != "")
    named = "{policy}@{budget}.{schedule}.{query_source}"
    winners = [r for r in pareto if r["task"] == row["task"] and named.format(**r) == row["dominated_by"]]
    assert len(winners) == (row["on_front"] == "0"), row
compare = read("compare")
assert compare and all(abs(float(r["mean_a"]) - float(r["mean_b"]) - float(r["difference"])) < 1e-9 for r in compare)
assert all(int(r["wins"]) + int(r["ties"]) + int(r["losses"]) == int(r["sequences"]) for r in compare)
assert {r["policy"] for r in read("queries")} == {"snapkv"}
assert [r["value"] for r in read("by-lag") if r["budget"] == "25%"][:2] == ["16", "32"]
PYTHON

# Every mean has its interval, that of the same sequences wherever the same figure stands.
expect_success record --model "$little" --workload passkey:digits=5 --sequences 5 --length 256 --device cpu \
    --max-new-tokens 8 --out five.kvtape.h5 --quiet
expect_success replay five.kvtape.h5 --policy snapkv:window=8 --policy snapkv:window=16 --policy oracle --budget 10%,25% \
    --scores --out five --quiet
expect_success analyze five --by window --quiet
python3 - five <<'PYTHON' || complain 'the intervals are not what they should be'
import csv
import pathlib
import sys

root = pathlib.Path(sys.argv[1])


def read(name):
    with open(root / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


names = "policy parameters budget schedule query_source layer kv_head probes block sequences constant error".split()
alike = [f"most_alike{kind}" for kind in ("", "_jaccard", "_keys", "_keys_cka", "_values", "_values_cka")]
means = {"bias": 24, "heads": 6, "damage": 7, "paged": 10}
for table, count in means.items():
    rows = read(table)
    columns = [column for column in rows[0] if column not in names + alike]
    assert len(columns) == 3 * count, (table, columns)
    for mean, low, high in zip(*[iter(columns)] * 3):
        assert (low, high) == (mean + "_low", mean + "_high"), (table, mean, low, high)
        wide = 0
        for row in rows:
            assert (row[mean] == "") == (row[low] == "") == (row[high] == ""), (table, mean, row)
            if row[mean]:
                ends = [float(row[end]) for end in (low, mean, high)]
                assert ends[0] - 1e-12 <= ends[1] <= ends[2] + 1e-12, (table, mean, ends)
                wide += ends[0] < ends[2]
        constant = mean in ("kept_ratio", "paged_ratio", "tie_rate") or mean.startswith("projected")
        assert wide or constant, (table, mean)

results = {(row["policy"] + ":window=" + row["value"], row["budget"]): row for row in read("by-window")}
assert len(results) == 4
for table, column in (("damage", "mass_kept"), ("damage", "output_error_median"), ("paged", "mass_kept"),
                      ("paged", "needle_recall"), ("paged", "needle_recall_weighted")):
    for row in read(table):
        result = results.get((row["policy"], row["budget"]))
        if result and not row["layer"] and row.get("probes", "all") == "all":
            for end in ("", "_low", "_high"):
                difference = float(row[column + end]) - float(result[column + end])
                assert abs(difference) < 1e-9, (table, column + end, difference)
PYTHON

# Without scores, what needs them is empty and says so.
expect_success replay "$small" --policy knorm --budget 25% --out unscored
expect_success analyze unscored
grep -q 'no scores stored' unscored/bias.csv || complain 'bias.csv does not say that scores are missing'

# Without the recording, what decisions and tables alone tell is still there.
cp -r unscored moved
sed -i 's|"trace": .*|"trace": "/nowhere/absent.h5"|' moved/run.json
expect_partial 4 '/nowhere/absent\.h5 is not there, so heads\.csv' analyze moved
for table in heads damage paged; do
    [[ ! -e moved/$table.csv ]] || complain "$table.csv of an earlier call is still there"
done
[[ -s moved/bias.csv ]] || complain 'without the recording: wrong tables'
expect_success analyze moved --trace "$small"
cmp -s moved/damage.csv unscored/damage.csv || complain '--trace makes another damage.csv'
expect_success replay "$small" --policy knorm --policy lagkv --schedule block:64+decode --budget 25% --out blocks
expect_success analyze blocks --json
python3 -c 'import json; assert len(json.load(open("stdout"))["results"]) == 2' || complain 'JSON of analyze'

expect_success replay "$small" --policy 'adakv(snapkv:window=8)' --policy 'adakv(snapkv:window=16)' --budget 25% --out wrapped
expect_success analyze wrapped --by window
for window in 8 16; do
    grep -q "^adakv(snapkv),$window," wrapped/by-window.csv || complain "by-window.csv lacks the base's window $window"
done

expect_success bench analyze --dir wrapped --repetitions 1
grep -q '"results":2.*"tables":7' stdout || complain "bench analyze prints $(cat stdout)"

# Bad input.
expect_refusal 3 'has the fingerprint' analyze all --trace "$here/../golden/small-float32.kvtape.h5"
expect_refusal 2 'analyze needs DIR' analyze
expect_refusal 4 'absent.*no such directory' analyze absent
mkdir empty
expect_refusal 3 'empty: it holds no results' analyze empty
expect_refusal 2 "by 'lagg'.*there are .*lag" analyze all --by lagg
expect_refusal 4 'absent\.h5' analyze all --trace absent.h5
# fresh: a copy of the results without tables of analyze.
fresh() {
    rm -rf "$1"
    cp -r all "$1"
    rm "$1"/{bias,heads,damage,paged,compare,pareto,queries,by-lag}.csv
}
fresh missing
rm missing/random@25-.prefill.agnostic.decisions.h5
expect_refusal 4 'random@25-.*is missing' bench analyze --dir missing --repetitions 1
expect_partial 4 'random@25-.*is missing' analyze missing
[[ -s missing/bias.csv && -s missing/compare.csv ]] || complain 'a missing file stops the tables'
fresh cut
head -c 3000 all/random@25-.prefill.agnostic.decisions.h5 >cut/random@25-.prefill.agnostic.decisions.h5
expect_partial 3 'random@25-' analyze cut
! grep -q '^random,[^,]*,25%' cut/bias.csv || complain 'a damaged file is in bias.csv'
fresh mixed
cp "$here/../golden/small-float32.ems@0.1.decisions.h5" mixed/random@25-.prefill.agnostic.decisions.h5
expect_partial 3 'random@25-.*belongs to the trace [0-9a-f]{32}, not to' analyze mixed
fresh replaced
cp replaced/random@10-.prefill.agnostic.decisions.h5 replaced/random@25-.prefill.agnostic.decisions.h5
expect_partial 3 'random@25-.*index\.csv lists it with [0-9a-f]{32}: another file took its place; remove it and replay again' analyze replaced
! grep -q '^random,[^,]*,25%' replaced/bias.csv || complain 'a file that took the place of another is in bias.csv'
fresh unmeasured
rm unmeasured/recall.csv
expect_partial 4 'compare\.csv, pareto\.csv and queries\.csv are left out.*recall\.csv' analyze unmeasured
[[ -s unmeasured/bias.csv && ! -e unmeasured/compare.csv ]] || complain 'recall.csv missing: wrong tables'
fresh emptied
head -n 1 all/recall.csv >emptied/recall.csv
expect_partial 3 'emptied/recall\.csv: it holds no results; run kvtape replay into this directory' analyze emptied
[[ -s emptied/bias.csv && ! -e emptied/compare.csv ]] || complain 'an empty recall.csv: wrong tables'
fresh thinned
grep -v '^random,' all/recall.csv >thinned/recall.csv
expect_partial 3 'thinned/recall\.csv: it lacks rows, or has too many, of 3 of the [0-9]+ results that index\.csv lists \(random at 10%, random at 25%, random at 100%\), which' \
    analyze thinned
[[ -s thinned/compare.csv ]] || complain 'a recall.csv without random stops the tables'
grep -v '^random,[^,]*,25%.*,1,0,' all/recall.csv >thinned/recall.csv
[[ $(wc -l <thinned/recall.csv) -lt $(wc -l <all/recall.csv) ]] || complain 'no row was taken away'
expect_partial 3 'thinned/recall\.csv: it lacks rows, or has too many, of 1 of the [0-9]+ results that index\.csv lists \(random at 25%\), which' \
    analyze thinned
fresh garbled
printf 'policy,budget\nx\n' >garbled/recall.csv
expect_partial 3 'recall\.csv' analyze garbled
printf 'policy,budget\nx\n' >garbled/index.csv
expect_refusal 3 "index\.csv: it has no column 'file'" analyze garbled
finish
