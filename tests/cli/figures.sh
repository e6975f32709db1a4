#!/usr/bin/env bash
# python/figures/figures.py draws what the tables of a replay and a live run hold, and says what it leaves out.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

figures=$here/../../python/figures/figures.py
python=
for candidate in python3 /usr/bin/python3; do
    [[ -n $python ]] || ! "$candidate" -c 'import matplotlib' 2>/dev/null || python=$candidate
done
if [[ -z $python ]]; then
    echo 'skipped: no Python here has matplotlib; ./dev setup --checks installs it'
    exit 77
fi

expect_success record --model "$little" --workload passkey:digits=5 --sequences 2 --length 256 --device cpu \
    --max-new-tokens 8 --out two.kvtape.h5 --quiet
chosen=(--policy full --policy oracle --policy snapkv --policy finch --budget '10%,25%,64t')
expect_success replay two.kvtape.h5 "${chosen[@]}" --out replayed --quiet
expect_success live --model "$little" --like two.kvtape.h5 "${chosen[@]}" --max-new-tokens 8 --out live --quiet
expect_success verify replayed live --quiet
# A keep profile as analyze writes it, of two policies.
python3 - >replayed/bias.csv <<'PYTHON'
print("policy,parameters,budget,schedule,query_source,layer,kv_head," + ",".join(f"keep_profile_{i}" for i in range(20)))
for policy in ("oracle", "snapkv"):
    print(f"{policy},{{}},10%,prefill,agnostic,,," + ",".join(str(i / 100) for i in range(20)))
PYTHON

# draw ARGUMENT...
draw() {
    "$python" "$figures" "$@" >stdout 2>stderr
}

draw --replay replayed --live live --out drawn || complain "drawing fails: $(cat stderr)"
for name in recall accuracy profile heads calibration; do
    [[ $(head -c 4 "drawn/$name.pdf" 2>/dev/null) == %PDF ]] || complain "$name.pdf is not drawn: $(cat stdout)"
done
draw --replay replayed --live live --out again
cmp -s drawn/recall.pdf again/recall.pdf || complain 'the same tables give other bytes'
draw --replay replayed --out png --format png --policies snapkv,full || complain "png: $(cat stderr)"
[[ -s png/recall.png && -s png/heads.png ]] || complain 'no png'
grep -q '^accuracy: left out: no folder of kvtape live was named' stdout || complain "accuracy: $(cat stdout)"
# Nine policies are drawn without intervals, and the program says so; a bare name finds a policy that saw the question.
python3 - replayed nine <<'PYTHON'
import csv, pathlib, shutil, sys
old, new = map(pathlib.Path, sys.argv[1:])
shutil.copytree(old, new)
with (old / "summary.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
with (new / "summary.csv").open("w", newline="") as file:
    table = csv.DictWriter(file, rows[0])
    table.writeheader()
    for row in rows:
        table.writerow(row)
        if row["policy"] == "snapkv":
            table.writerows({**row, "policy": f"snapkv{i}"} for i in range(5))
PYTHON
draw --replay nine --live live --out png --format png || complain "nine: $(cat stderr)"
grep -q '^recall: without intervals, which of 9 policies cover each other; --policies draws up to 8 with them' stdout ||
    complain "nine policies: $(cat stdout)"
draw --replay nine --live live --out png --format png --policies finch,snapkv4 || complain "finch: $(cat stderr)"
if grep -q 'without intervals' stdout; then complain "two policies: $(cat stdout)"; fi
# Settings of one spec are drawn apart, under names that say what differs, and are not averaged.
expect_success replay two.kvtape.h5 --policy snapkv --budget 10%,25% --schedule prompt --out settings --quiet
expect_success replay two.kvtape.h5 --policy snapkv --policy full --budget 10%,25% --out settings --quiet
draw --replay settings --out png --format png --policies "snapkv (prompt),full" || complain "a schedule: $(cat stderr)"
# A spec has commas between its parameters.
expect_success replay two.kvtape.h5 --policy snapkv:window=16,kernel=3 --policy full --budget 10%,25% --out spec --quiet
draw --replay spec --out png --format png --policies full,snapkv:window=16,kernel=3 || complain "a spec: $(cat stderr)"
if draw --replay settings --out none --policies snap; then complain 'snap is not refused'; fi
grep -q 'it holds full, snapkv (prefill), snapkv (prompt)$' stderr || complain "schedules: $(cat stderr)"
PYTHONPATH=$(dirname "$figures") python3 - settings parameters <<'PYTHON' || complain 'parameter sets are averaged'
import csv, pathlib, shutil, sys
import tables

old, new = map(pathlib.Path, sys.argv[1:])
shutil.copytree(old, new)
with (old / "summary.csv").open(newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["schedule"] == "prefill" and row["policy"] == "snapkv"]
wrapped = '{"base":"b","base_parameters":{"window":%s,"kernel":7},"alpha":%s}'
with (new / "summary.csv").open("w", newline="") as file:
    table = csv.DictWriter(file, rows[0])
    table.writeheader()
    for row in rows:
        for recall, window, alpha in ((0.25, 8, 0.5), (0.5, 8, 1), (0.75, 16, 1)):
            row["needle_recall_weighted"], row["parameters"] = recall, wrapped % (window, alpha)
            table.writerow(row)
        table.writerow({**row, "query_source": "question"})
found = tables.over_tasks(new, tables.Names(new), "needle_recall_weighted")
assert {name: value for (name, budget), (value,) in found.items() if budget == "10%"} == {
    "snapkv (alpha=0.5, window=8)": 0.25,
    "snapkv (alpha=1, window=8)": 0.5,
    "snapkv (alpha=1, window=16)": 0.75,
    "snapkv (question)": 0.75,
}, found
names = tables.Names(new)
assert tables.drawn_policies(new, names, "snapkv (question),snapkv (alpha=1, window=16)") == {
    "snapkv (question)", "snapkv (alpha=1, window=16)"}
assert len(tables.drawn_policies(new, names, "snapkv")) == 4
PYTHON
# What the live run holds and the replay does not has no place on the axis.
python3 - nine/summary.csv <<'PYTHON'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text("".join(line for line in path.open() if not line.startswith("finch,")))
PYTHON
draw --replay nine --live live --out png --format png || complain "no finch: $(cat stderr)"
grep -q '^accuracy: without 3 of 12 results, of which the replay does not say what is kept: finch (question) at' stdout ||
    complain "finch is not missed: $(cat stdout)"
# Tables of another version, or damaged, leave out their figures and no more.
sed '1s/kept_ratio/kept_share/' replayed/summary.csv >nine/summary.csv
draw --replay nine --live live --out old || complain "another version: $(cat stderr)"
for name in recall accuracy; do
    grep -q "^$name: left out: nine/summary.csv has no column kept_ratio, so another version wrote it; write it again with kvtape replay$" stdout ||
        complain "$name of another version: $(cat stdout)"
    [[ ! -e old/$name.pdf ]] || complain "$name of another version is drawn"
done
[[ -s old/heads.pdf && -s old/calibration.pdf && ! -s stderr ]] || complain "beside another version: $(cat stdout stderr)"
{ cat replayed/summary.csv && echo 'snapkv,{}'; } >nine/summary.csv
if draw --replay nine --out none; then complain 'a cut table is not refused'; fi
grep -q '^drawing figures: nine/summary.csv, line [0-9]*: not as many fields as the header; write it again' stderr ||
    complain "a cut table: $(cat stderr)"
draw --help || complain "--help: $(cat stderr)"
for option in replay live out format policies; do
    grep -qE "^  --$option .*[[:alpha:]]" stdout || complain "--help does not name --$option: $(cat stdout)"
done
rm replayed/bias.csv
draw --replay replayed --out png --format png
grep -q '^profile: left out: .*bias.csv is not there; kvtape analyze writes it' stdout || complain "profile: $(cat stdout)"
# refused PATTERN ARGUMENT...
refused() {
    local pattern=$1
    shift
    if draw "$@" --out none; then complain "$* is not refused"; fi
    grep -q "$pattern" stderr || complain "$*: $(cat stderr)"
}
mkdir other && echo 'name,budget' >other/summary.csv
refused '^drawing figures: .*summary.csv is not there' --replay nowhere
refused 'holds no policy snap; it holds' --replay replayed --policies full,snap
refused 'summary.csv has no column policy, so another version wrote it' --replay other
[[ ! -e none ]] || complain 'a refused call leaves a folder'
finish
