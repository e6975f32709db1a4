#!/usr/bin/env bash
# Two decision files are compared: exit codes, the total line, JSON, CSV, the page, bad input.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_success replay "$small" --policy snapkv --policy h2o --policy full --budget 10%,25% --scores --out all
a=all/snapkv@10-.prefill.agnostic.decisions.h5
b=all/h2o@10-.prefill.agnostic.decisions.h5

# expect_difference ARGUMENT...: kvtape diff exits with 1 and says nothing on standard error.
expect_difference() {
    local code=0
    "$program" diff "$@" >stdout 2>stderr </dev/null || code=$?
    ((code == 1)) || complain "kvtape diff $*: exit $code, expected 1: $(tail -n 3 stderr)"
    [[ ! -s stderr ]] || complain "kvtape diff $* says: $(cat stderr)"
}

expect_success diff "$a" "$a"
[[ $(tail -n 1 stdout) == 'jaccard 1 identical yes' ]] || complain "a file and itself: $(tail -n 1 stdout)"
expect_difference "$a" "$b"
tail -n 1 stdout | grep -qE '^jaccard 0\.[0-9]+ identical no$' || complain "the total is $(tail -n 1 stdout)"
expect_difference "$a" all/snapkv@25-.prefill.agnostic.decisions.h5 --sequences 0
expect_output 'snapkv at 25% \(prefill, agnostic, replay\)'
expect_success diff all/full@10-.prefill.agnostic.decisions.h5 all/full@25-.prefill.agnostic.decisions.h5

# The same tokens, turned to other positions: the decisions are identical, and all outputs say that the keys are not.
expect_success replay "$small" --policy streaming_llm --policy 'rerotate(streaming_llm)' --budget 25% --out turned
turned=(turned/{streaming-llm,rerotate-streaming-llm-}@25-.prefill.agnostic.decisions.h5)
expect_success diff "${turned[@]}" --csv turned.csv --html turned.html
expect_output '^Of [0-9]+ entries that both keep, [0-9]+ hold other keys or values in one cache than in the other\.'
[[ $(tail -n 1 stdout) == 'jaccard 1 identical yes' ]] || complain "turned keys: $(tail -n 1 stdout)"
grep -q 'hold other keys or values in one cache' turned.html || complain 'the page does not say that keys differ'
expect_success diff "${turned[@]}" --json
python3 - stdout turned.csv <<'PYTHON' || complain 'JSON and CSV do not say that keys differ'
import csv
import json
import sys

result = json.load(open(sys.argv[1]))
rows = list(csv.DictReader(open(sys.argv[2])))
assert result["identical"] and {row["identical"] for row in rows} == {"yes"}
# The four sinks of every head were turned towards the window, which stays as it is.
assert {row["changed_differently"] for row in rows} == {"4"}
assert result["changed_differently"] == 4 * len(rows)
assert result["kept_both"] == sum(int(row["kept_both"]) for row in rows)
assert [int(row["changed_differently"]) for row in rows] == [
    head["changed_differently"] for sequence in result["sequences"] for head in sequence["heads"]]
PYTHON
expect_success diff "${turned[1]}" "${turned[1]}" --json
grep -q '"changed_differently":0,' stdout || complain 'a file holds other keys than itself'

expect_difference "$a" "$b" --trace "$small" --json --csv heads.csv --html page.html
python3 - stdout heads.csv page.html <<'PYTHON' || complain 'JSON, CSV and page do not agree'
import base64
import csv
import hashlib
import json
import re
import sys

result = json.load(open(sys.argv[1]))
rows = list(csv.DictReader(open(sys.argv[2])))
page = open(sys.argv[3], encoding="utf-8").read()
header = open(sys.argv[2]).readline().strip()
assert header.startswith("sequence,layer,kv_head,kept_a,kept_b,kept_both,jaccard,overlap,"), header
heads = [(s["name"], h) for s in result["sequences"] for h in s["heads"]]
assert len(rows) == len(heads) == result["heads"] > 0
assert result["identical"] is False and result["scores_a"] and result["scores_b"]
mean = sum(h["jaccard"] for _, h in heads) / len(heads)
assert abs(mean - result["jaccard"]) < 1e-12, (mean, result["jaccard"])
for row, (name, head) in zip(rows, heads):
    assert row["sequence"] == name and float(row["jaccard"]) == head["jaccard"]
    assert sum(end - begin for begin, end in head["only_a"]) == head["kept_a"] - head["kept_both"]
    assert head["needle_a"] - head["needle_lost"] == head["needle_b"] - head["needle_gained"]
style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
assert f"default-src 'none'; style-src 'sha256-{digest}'" in page, digest
assert "<script" not in page and "http://" not in page and "https://" not in page
targets = set(re.findall(r'href="#([^"]+)"', page))
assert targets <= set(re.findall(r" id=([\w-]+)", page)) and len(targets) > 1
PYTHON
if [[ -n $h5py ]]; then
    "$h5py" - "$a" "$b" stdout <<'PYTHON' || complain 'h5py finds other sets'
import json
import sys

import h5py

a, b = h5py.File(sys.argv[1]), h5py.File(sys.argv[2])
for sequence in json.load(open(sys.argv[3]))["sequences"]:
    end = a["sequences"][sequence["name"]]["blocks"][0, 1]
    for head in sequence["heads"]:
        row = f"sequences/{sequence['name']}/layers/{head['layer']:03}/evicted_at"
        kept = [{t for t in range(end) if f[row][head["kv_head"], t] != 0} for f in (a, b)]
        assert head["jaccard"] == len(kept[0] & kept[1]) / len(kept[0] | kept[1]), head
PYTHON
fi

# With or without threads, the same bytes.
"$program" diff "$a" "$b" --trace "$small" --json --threads 1 --html one.html >one.json
cmp -s stdout one.json || complain 'threads change the JSON'
cmp -s page.html one.html || complain 'threads change the page'

expect_refusal 2 'heads\.csv exists; --overwrite' diff "$a" "$b" --csv heads.csv
expect_difference "$a" "$b" --csv heads.csv --overwrite
cp "$a" copy.decisions.h5
expect_refusal 2 '--csv copy.decisions.h5 would replace' diff copy.decisions.h5 "$b" --csv copy.decisions.h5 --overwrite
cmp -s "$a" copy.decisions.h5 || complain 'a refused diff changed its input'
expect_refusal 2 '--html .*would replace' diff "$a" "$b" --trace "$small" --html "$small" --overwrite
expect_refusal 2 '--html both would replace both' diff "$a" "$b" --csv both --html both
expect_refusal 2 '--html is empty' diff "$a" "$b" --html ''
expect_refusal 4 'nowhere/page\.html' diff "$a" "$b" --html nowhere/page.html
expect_refusal 2 'diff needs A;' diff
expect_refusal 2 'diff needs B|--b' diff "$a"
expect_refusal 2 'usage: kvtape diff' diff "$a" "$b" "$b"
expect_refusal 2 "--sequences is 'x'" diff "$a" "$b" --sequences x
expect_refusal 2 'neither A nor B has a sequence 0099' diff "$a" "$b" --sequences 99
expect_refusal 4 'absent\.h5' diff absent.h5 "$b"
expect_refusal 4 'absent\.h5' diff "$a" absent.h5
expect_refusal 3 'is a trace, expected a decision file' diff "$small" "$b"
expect_refusal 3 'is a decision file, expected a trace' diff "$a" "$b" --trace "$b"
printf 'not HDF5' >text.h5
expect_refusal 3 'text\.h5' diff "$a" text.h5

golden=$here/../golden
expect_refusal 3 'A belongs to the trace [0-9a-f]{32}, B to [0-9a-f]{32}' \
    diff "$a" "$golden/small-float32.ems@0.1.decisions.h5" --csv refused.csv --html refused.html
expect_refusal 3 'but --trace has the fingerprint' diff "$a" "$b" --trace "$golden/small-float32.kvtape.h5"
expect_absent refused.csv refused.html
expect_difference "$golden/small-float32.ems@0.1.decisions.h5" \
    "$golden/small-float32.snapkv-window-32-kernel-7@0.25.decisions.h5" --trace "$golden/small-float32.kvtape.h5"
expect_output 'merged otherwise'

size=$(stat -c %s "$a")
head -c $((size / 2)) "$a" >cut.h5
expect_refusal 3 'cut\.h5.*cut off' diff cut.h5 "$b"
for place in 1 2 3 4 5 6 7 8; do
    cp "$a" flipped.h5
    python3 -c "
with open('flipped.h5', 'r+b') as file:
    file.seek($size * $place // 9)
    byte = file.read(1)[0]
    file.seek(-1, 1)
    file.write(bytes([byte ^ 0x10]))"
    code=0
    "$program" diff flipped.h5 "$a" >stdout 2>stderr || code=$?
    [[ $code == 0 || $code == 1 || $code == 3 ]] || complain "bit flip $place: exit $code: $(head -n 2 stderr)"
    ((code != 3 || $(wc -l <stderr) == 1)) || complain "bit flip $place: $(wc -l <stderr) lines"
done
if [[ -n $h5py ]]; then
    cp "$a" unfinished.decisions.h5.partial
    "$h5py" -c "
import h5py, numpy
h5py.File('unfinished.decisions.h5.partial', 'r+').attrs['complete'] = numpy.uint8(0)"
    expect_refusal 3 'its writer did not finish' diff unfinished.decisions.h5.partial "$b"
fi
finish
