#!/usr/bin/env bash
# The scripts of examples/claims run to the end on one short document of each task and print tables
# without holes; tables.py computes what it says; bad arguments are one clear line.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

claims=$(readlink -f "$here/../../examples/claims")
export KVTAPE=$program

# claim NAME TABLES ARGUMENT...: NAME.sh succeeds and prints so many tables, each with a row at least.
claim() {
    local name=$1 tables=$2
    "$claims/$name.sh" --sequences 1 --length 384 "${@:3}" "$name" >stdout 2>stderr ||
        complain "$name.sh fails: $(tail -n 3 stderr)"
    (($(grep -c '^|---' stdout) == tables)) || complain "$name.sh prints other tables: $(grep -v '^|' stdout)"
    grep -A 1 '^|---' stdout | grep -cE '^\| [^|]' | grep -qx "$tables" || complain "$name.sh prints an empty table"
    grep -qE '\bnan\b|Traceback' stdout stderr && complain "$name.sh: $(grep -hE '\bnan\b|Traceback' stdout stderr)"
}

claim heads 4 --model "$here/../../data/needle-model-trained"
claim ems 5
claim laser-kv 6
claim lagkv 4

# Others get what lagkv kept: the pairs of the last script are at equal tokens.
python3 - lagkv/replay <<'PYTHON' || complain 'others did not keep what lagkv kept'
import csv
import pathlib
import sys

csv.field_size_limit(1 << 30)
with (pathlib.Path(sys.argv[1]) / "recall.csv").open(newline="") as file:
    rows = [row for row in csv.DictReader(file) if row["sequence"] == "0000"]
kept = {name: {int(row["kept"]) for row in rows if row["policy"] == name} for name in ("lagkv", "h2o", "snapkv")}
assert len(kept["lagkv"]) >= 3 and kept["lagkv"] == kept["h2o"] == kept["snapkv"], kept
PYTHON

# Wilson's intervals as printed in the literature (Newcombe 1998, 81 of 263; 15 of 148; 0 of 20), the
# digits before the first wrong one, and the order of values.
PYTHONPATH=$claims python3 - <<'PYTHON' || complain 'tables.py computes something else'
import tables

for right, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
    found = tables.wilson(right, total)
    assert abs(found[0] - low) < 1e-4 and abs(found[1] - high) < 1e-4, found
for text, share in ((" The key is 1234.", 1), (" The key is 1239.", 0.75), (" 12", 0.5), (" none", 0), (" 9123", 0)):
    assert tables.leading({"answer": "1234", "generated_text": text}) == share, text
assert tables.bootstrapped([0.5] * 4) == "0.50 (0.50..0.50)" and tables.bootstrapped([0, 1]) == "0.50"
low, high = tables.bootstrapped([0, 1] * 8).split("(")[1][:-1].split("..")
assert 0.2 <= float(low) <= 0.3 and 0.7 <= float(high) <= 0.8, (low, high)
PYTHON

# refused PATTERN ARGUMENT...: heads.sh exits with 2 and one line.
refused() {
    local code=0 pattern=$1
    shift
    "$claims/heads.sh" "$@" >stdout 2>stderr || code=$?
    if ((code != 2 || $(wc -l <stderr) != 1)) || ! grep -q "$pattern" stderr; then
        complain "heads.sh $*: exit $code: $(cat stderr)"
    fi
}
refused 'there is no config.json in it' --model .
refused 'takes a whole number from 1 on' --sequences none out
refused 'takes a whole number from 256 on' --length 100 out
refused 'there is no option --fast' --fast
refused 'one folder at most' one two
refused 'heads is not empty' heads
KVTAPE=nowhere refused 'KVTAPE names no program' out
"$claims/heads.sh" --help >stdout || complain '--help fails'
expect_output '^usage: examples/claims/heads.sh'
[[ ! -e out ]] || complain 'a refused call leaves a folder'
finish
