#!/usr/bin/env bash
# Replaying writes the promised files, keeps what is there, and picks up where it stopped.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

columns() {
    [[ $(head -n 1 "$1") == "$2" ]] || complain "$1 has the columns $(head -n 1 "$1")"
}

expect_success replay "$small" --policies all --budget 10%,64t --out all
for policy in full random oracle streaming_llm knorm tova snapkv h2o lagkv; do
    expect_output "$policy"
done
expect_success check all/*.decisions.h5
[[ -e all/knorm@0.1.prefill.agnostic.decisions.h5 || -e all/knorm@10-.prefill.agnostic.decisions.h5 ]] ||
    complain "the decision files are named: $(ls all)"
columns all/index.csv 'file,policy,parameters,budget,schedule,query_source,seed,fingerprint'
columns all/recall.csv 'policy,parameters,budget,schedule,query_source,sequence,task,layer,kv_head,tokens,kept,kept_bytes,needle_tokens,needle_kept,needle_recall,needle_recall_weight,mass_kept,output_error_median,output_error_p95'
columns all/summary.csv 'policy,parameters,budget,schedule,query_source,task,sequences,kept_ratio,kept_bytes_ratio,needle_recall,needle_recall_low,needle_recall_high,needle_recall_weighted,needle_recall_weighted_low,needle_recall_weighted_high,needle_intact_heads,mass_kept,output_error_median,regret'
python3 -m json.tool all/run.json >/dev/null || complain 'run.json is not JSON'

"$program" policies --json >policies.json
python3 - all <<'PYTHON' || complain 'the tables do not say what they must'
import csv
import json
import sys
from pathlib import Path

folder = Path(sys.argv[1])
exact = {policy["name"] for policy in json.load(open("policies.json")) if policy["budget_rule"] == "exact"}
assert {"knorm", "snapkv", "h2o"} <= exact
index = list(csv.DictReader(open(folder / "index.csv")))
recall = list(csv.DictReader(open(folder / "recall.csv")))
assert {row["file"] for row in index} == {path.name for path in folder.glob("*.decisions.h5")}
assert len({row["policy"] for row in index}) >= 9
for row in recall:
    kept, tokens = int(row["kept"]), int(row["tokens"])
    if row["policy"] == "full":
        assert kept == tokens and float(row["needle_recall"]) == 1.0, row
    elif row["policy"] in exact:
        assert kept == (tokens // 10 if row["budget"] == "10%" else 64), row
PYTHON

expect_success replay "$small" --policy knorm --budget 10% --out steps
cp steps/*.decisions.h5 first.h5
expect_success replay "$small" --policy knorm --policy snapkv --budget 10%,64t --out steps
cmp -s first.h5 steps/knorm@*10*.decisions.h5 || [[ $(find steps -name 'knorm*' | wc -l) == 2 ]] ||
    complain 'a second replay lost the result of the first'
expect_success replay "$small" --policy knorm --policy snapkv --budget 10%,64t --out once
rm -f steps/run.json once/run.json
diff -r steps once >difference || complain "two steps differ from one: $(cat difference)"

expect_success replay "$small" --policy h2o --policy adakv --budget 10% --curve --out curve
columns curve/curve.csv 'policy,parameters,schedule,query_source,task,tokens,kept_ratio,needle_recall,needle_recall_weighted,mass_kept'
grep -q 'curve.csv leaves out adakv' stderr || complain "--curve does not say what it leaves out: $(cat stderr)"
h2o_rows=$(grep -c '^h2o,' curve/curve.csv)
expect_success replay "$small" --policy knorm --budget 10% --curve --out curve --quiet
[[ $(grep -c '^h2o,' curve/curve.csv) == "$h2o_rows" ]] || complain 'a second --curve lost the curves of the first'
[[ $(grep -c '^knorm,' curve/curve.csv) == "$h2o_rows" ]] || complain 'a second --curve did not draw its own curve'
printf 'policy,tokens\nh2o,1\n' >curve/curve.csv
expect_success replay "$small" --policy knorm --budget 10% --curve --out curve --quiet
[[ $(wc -l <curve/curve.csv) == $((h2o_rows + 1)) ]] || complain 'rows of another table stay in curve.csv'
expect_refusal 2 'a curve needs one decision' replay "$small" --policy h2o --budget 10% --schedule prefill+decode --curve --out refused
for schedule in prompt block:64 prefill+decode; do
    expect_success replay "$small" --policy knorm --policy streaming_llm --budget 32t --schedule "$schedule" --out "by-$schedule"
    "$program" check "by-$schedule"/*.decisions.h5 >/dev/null || complain "$schedule: check finds damage"
done
expect_refusal 2 'the policy is defined for prefill, prompt' replay "$small" --policy snapkv:window=8 --budget 10% --schedule prefill+decode --out refused

rm steps/snapkv*
expect_success replay "$small" --policy knorm --policy snapkv --budget 10%,64t --out steps
rm -f steps/run.json
diff -r steps once >difference || complain "a repaired folder differs: $(cat difference)"

decisions=(once/knorm@*.decisions.h5)
expect_refusal 3 'is a decision file, expected a trace' replay "${decisions[0]}" --policy knorm --budget 0.5 --out refused
mkdir trace-among
cp "$small" trace-among/knorm@0.5.prefill.agnostic.decisions.h5
expect_refusal 3 'is a trace, expected a decision file' replay "$small" --policy knorm --budget 0.5 --out trace-among
expect_absent refused

# A replay that fails lists what it finished, and going on gives what one run gives.
mkdir -p failed/snapkv@64t.prefill.agnostic.decisions.h5.partial
expect_refusal 4 'snapkv@64t' replay "$small" --policy knorm --policy snapkv --budget 10%,64t --out failed
python3 - failed <<'PYTHON' || complain 'after a failed replay index.csv lists other files than there are'
import csv
import sys
from pathlib import Path

folder = Path(sys.argv[1])
index = {row["file"] for row in csv.DictReader(open(folder / "index.csv"))}
assert index == {path.name for path in folder.glob("*.decisions.h5")} and len(index) == 2, index
PYTHON
rm -r failed/*.partial
rm failed/index.csv
expect_success replay "$small" --policy knorm --policy snapkv --budget 10%,64t --out failed
rm -f failed/run.json
diff -r failed once >difference || complain "a replay that went on differs: $(cat difference)"

# One sequence has a mean and no interval.
expect_success replay "$small" --policy knorm --budget 50% --sequences 0 --json --out one
grep -q '"needle_recall_weighted_high":null,"needle_recall_weighted_low":null' stdout ||
    complain "one sequence has an interval: $(cat stdout)"
python3 - one <<'PYTHON' || complain 'one sequence has an interval in summary.csv'
import csv
import sys
from pathlib import Path

for row in csv.DictReader(open(Path(sys.argv[1]) / "summary.csv")):
    assert row["needle_recall"] and row["needle_recall_weighted"], row
    assert not any(value for name, value in row.items() if name.endswith(("_low", "_high"))), row
PYTHON

# Policies that a recording cannot feed are left out, and named.
expect_success record --workload where --sequences 1 --length 200 --queries last=8 --out few.kvtape.h5
expect_success replay few.kvtape.h5 --policies all --budget 50% --out few
grep -qE '^kvtape: --policies all leaves out snapkv: .*datasets queries.* --queries last=64' stderr ||
    complain "--policies all does not say what it leaves out: $(cat stderr)"
[[ ! -e few/snapkv@50-.prefill.agnostic.decisions.h5 ]] || complain 'snapkv was replayed without its queries'
expect_success replay few.kvtape.h5 --policies all --budget 50% --out few --quiet
[[ ! -s stderr ]] || complain "--quiet says: $(cat stderr)"
expect_refusal 2 'skip names layer 2, but the model has the layers 0\.\.1' \
    replay "$small" --policy lagkv:skip=0+2 --budget 50% --out refused
expect_absent refused

expect_success replay "$small" --policy knorm --budget 50% --tasks passkey --out passkey
expect_success replay "$small" --policy knorm --budget 50% --tasks passkey:digits=5 --out digits
cmp -s passkey/recall.csv digits/recall.csv || complain 'the name of a task does not select it'
cut -d , -f 7 passkey/summary.csv | grep -q '^2$' || complain 'not the two sequences of passkey'
expect_refusal 2 "no task 'passkey:digits=4'; it has passkey:digits=5, where" \
    replay "$small" --policy knorm --budget 50% --tasks passkey:digits=4 --out refused
expect_absent refused

expect_success replay "$small" --policy knorm --budget 50% --tasks where --sequences 2 --layers 1 --out part
python3 - part <<'PYTHON' || complain 'a subset holds more or less than was asked for'
import csv
import sys
from pathlib import Path

rows = list(csv.DictReader(open(Path(sys.argv[1]) / "recall.csv")))
assert {row["layer"] for row in rows} == {"1"}, rows
assert {row["task"] for row in rows} == {"where"}, rows
assert {int(row["sequence"]) for row in rows} == {2}, rows
PYTHON
expect_success replay few.kvtape.h5 --policy knorm --budget 50% --layers 0,5 --out ends
[[ $(cut -d, -f 8 ends/recall.csv | sort -u | xargs) == '0 5 layer' ]] || complain "layers: $(head -n 3 ends/recall.csv)"
finish
