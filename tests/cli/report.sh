#!/usr/bin/env bash
# One self-contained page of a replay: what it holds, that its policy allows it, bad input.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_success replay "$small" --policy snapkv --policy h2o --policy full --policy oracle --budget 10%,25%,50% --curve --out all
expect_success report all --out page.html
expect_output '^page\.html$'
grep -q 'kvtape analyze writes them' stderr || complain "it does not say what is missing: $(cat stderr)"

# check_page FILE: its policy allows its own scripts and styles and nothing else.
check_page() {
    python3 - "$1" <<'PYTHON' || complain "$1 is not as expected"
import base64
import hashlib
import json
import re
import sys

page = open(sys.argv[1], encoding="utf-8", newline="").read()
policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page).group(1)
assert policy.startswith("default-src 'none'; script-src 'sha256-"), policy
assert "unsafe" not in policy and "http" not in policy, policy
for name in ("script", "style"):
    for text in re.findall(rf"<{name}>(.*?)</{name}>", page, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src" in policy and f"'sha256-{digest}'" in policy, (name, digest)
assert len(re.findall("<script", page)) == len(re.findall("<script>", page)) + 1
assert not re.search(r'\b(src|href)="(?!#)', page)
data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
assert len(data["cells"]) == 12 and len(data["series"]) == 4, data["series"]
assert data["curves"] and data["strips"]["sequences"][0]["needles"]
assert len(page) < 3_000_000
# The budget slider: what is kept at a replayed step is what recall.csv says of it.
strips = data["strips"]
digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
assert len(strips["steps"]) > 20 and len(strips["sequences"]) == len(data["sequences"])
assert all(strips["first"]) and len(strips["first"]) == 4
for cell in data["cells"]:
    step = strips["steps"].index(cell["budget"])
    kept = tokens = 0
    for about, heads in zip(strips["sequences"], strips["first"][cell["series"]]):
        for head in heads:
            kept += sum(digits.index(c) <= step for c in head[:about["context"]])
            tokens += about["context"]
    assert abs(kept / tokens - cell["kept"]) < 0.001, (cell["policy"], cell["budget"], kept / tokens, cell["kept"])
PYTHON
}
check_page page.html
expect_success report all --json --quiet
[[ -s all/report.html && ! -s stderr ]] || complain 'without --out there is no report.html in the directory'
cmp -s page.html all/report.html || complain 'two pages of the same results differ'
expect_success report all --threads 1 --quiet
cmp -s page.html all/report.html || complain 'threads change the page'

# What the page's answer says of the two best is what compare.csv says of them.
expect_success analyze all --quiet
expect_success report all --quiet
python3 - all/report.html all/compare.csv <<'PYTHON' || complain 'the answer is not that of compare.csv'
import csv
import re
import sys

answer = re.search(r"<p class=answer>(.*?)</p>", open(sys.argv[1], encoding="utf-8").read(), re.DOTALL).group(1)
budget, best, mean, rival, other, difference = re.findall("<b>(.*?)</b>", answer)[:6]
assert {best, rival} == {"snapkv", "h2o"}, answer
with open(sys.argv[2], newline="") as file:
    row = next(row for row in csv.DictReader(file)
               if row["budget_a"] == row["budget_b"] == budget and row["metric"] == "needle_recall_weighted"
               and row["task"] == "all" and {row["policy_a"], row["policy_b"]} == {best, rival})
sign = 1 if row["policy_a"] == best else -1
assert difference == f"{sign * float(row['difference']):.2f}", (answer, row)
wins, losses = (row["wins"], row["losses"])[::sign]
assert f"{wins} sequence{'' if wins == '1' else 's'} won, {row['ties']} tied, {losses} lost" in answer, (answer, row)
PYTHON
# Of tokens and shares, the middling budget is the one that holds a middling share.
expect_success replay "$small" --policy streaming_llm --policy random --budget 5%,2t,60t --out mixed --quiet
expect_success report mixed --quiet
grep -F '<th scope=col>policy' mixed/report.html | grep -q '<th scope=col>2t<th scope=col>5%<th scope=col>60t' ||
    complain 'budgets are not in the order of what they hold'
grep -F 'class=answer>' mixed/report.html | grep -qE 'At <b>5%</b> of the cache .*(random tokens, which keep|Random tokens keep) ' ||
    complain "the answer over mixed budgets: $(grep -F 'class=answer>' mixed/report.html)"
grep -F 'class=answer>' mixed/report.html | grep -qF 'No other policy can be compared with it at this budget and schedule.' ||
    complain 'the answer does not say that there is no runner-up'
expect_success replay "$small" --policy snapkv --budget 10% --out looked --report --twice
[[ -s looked/report.html ]] || complain 'replay --report writes no report.html'
grep -q 'open looked/report\.html in a browser' stderr || complain "replay --report says: $(cat stderr)"


# A table that lost rows, and a decision file that another one replaced, are named.
expect_success replay "$small" --policy h2o --policy random --budget 10%,25% --out losing --quiet
cp losing/recall.csv whole.csv
grep -v '^h2o,.*,25%,.*,1,0,' whole.csv >losing/recall.csv
expect_success report losing --quiet
grep -q 'recall\.csv lacks rows, or has too many, of h2o at 25%, so' losing/report.html || complain 'lost rows are not named'
grep -v '^h2o,.*,25%,' whole.csv >losing/recall.csv
expect_success report losing --quiet
grep -q 'Left out for want of a row in recall\.csv: h2o at 25%, which' losing/report.html || complain 'a lost result is not named'
cp whole.csv losing/recall.csv
cp losing/random@25-.prefill.agnostic.decisions.h5 losing/h2o@25-.prefill.agnostic.decisions.h5
expect_success report losing --quiet
grep -q 'Decisions of h2o at 25% are left out: .*but index\.csv lists it with [0-9a-f]*: another file took its place' losing/report.html ||
    complain 'a replaced decision file is not named'

expect_refusal 2 'page\.html exists; --overwrite' report all --out page.html
expect_success report all --out page.html --overwrite
expect_refusal 2 'recall\.csv' report all --out all/recall.csv --overwrite
expect_refusal 2 '--out is empty' report all --out ''
expect_refusal 4 'nowhere/page\.html' report all --out nowhere/page.html
expect_refusal 4 'absent: there is no such directory' report absent
mkdir empty
expect_refusal 3 'empty: it holds no results \(no recall\.csv\); name the --out of a replay' report empty
mkdir foreign
echo 'a,b' >foreign/recall.csv
expect_refusal 3 "no column 'policy'; it is of another version" report foreign
expect_absent empty/report.html foreign/report.html

# Answers are those of the same queries.
expect_success record --workload passkey:digits=5 --length 256 --sequences 2 --seed 3 --out asked.kvtape.h5 --quiet
expect_success live --like asked.kvtape.h5 --policy snapkv --budget 25% --query-source question --max-new-tokens 4 --out asked --quiet
for source in agnostic question; do
    expect_success replay asked.kvtape.h5 --policy snapkv --budget 25% --query-source "$source" --out "$source" --quiet
    expect_success report "$source" --live asked --quiet
done
grep -F 'class=answer>' question/report.html | grep -q ' of 2</b>.* questions right with <b>snapkv</b>' || complain 'live answers are not shown'
! grep -F 'class=answer>' agnostic/report.html | grep -qF ' of 2</b>' || complain 'live answers are shown of other queries'

# How it was made: every command, not the last one's alone, also where a record is of no such list.
expect_success replay asked.kvtape.h5 --policy tova --budget 25% --out question --quiet
expect_success replay asked.kvtape.h5 --policy knorm --budget 25% --out question --quiet
expect_success report question --live asked --quiet
for part in 'earlier command<td>[^<]*--policy snapkv' 'earlier command<td>[^<]*--policy tova' '>command<td>[^<]*--policy knorm' 'live answers by<td>[^<]* live --like'; do
    grep -F '<th scope=row>producer' question/report.html | grep -q "$part" || complain "how it was made does not say: $part"
done
! grep -q 'analyzed by<\|compared with them by<' question/report.html || complain 'commands that nobody gave are shown'
expect_success analyze question --quiet
expect_success verify question asked --quiet
expect_success replay asked.kvtape.h5 --policy knorm --budget 50% --out question --quiet
expect_success report question --live asked --quiet
for part in 'analyzed by<td>[^<]* analyze question' 'compared with them by<td>[^<]* verify question asked' 'live answers by<td>[^<]* live --like'; do
    grep -F '<th scope=row>producer' question/report.html | grep -q "$part" || complain "how it was made does not say: $part"
done
printf '{"command": "by hand", "earlier": 7, "analyze": [1]}' >question/run.json
expect_success replay asked.kvtape.h5 --policy h2o --budget 25% --out question --quiet
expect_success report question --quiet
grep -F '<th scope=row>producer' question/report.html | grep -q 'earlier command<td>by hand<' || complain 'a record without a list is not read'

# Answers of nothing, or of another recording, are not shown; results that nobody analyzed are named.
expect_success report all --live absent --out answers.html
cp stderr less_stderr
grep -q 'absent holds neither answers\.csv nor agreement\.csv' stderr || complain "a live directory that is not there: $(cat stderr)"
expect_success record --workload passkey:digits=5 --length 256 --sequences 1 --seed 9 --out other.kvtape.h5 --quiet
expect_success live --like other.kvtape.h5 --policy full --budget 10% --max-new-tokens 4 --out other --quiet
expect_success report all --live other --out answers.html --overwrite
grep -q 'Answers of the running model are left out: other belongs to the trace' stderr ||
    complain "answers of another recording: $(cat stderr)"
# Another recording is left out, not the results; so is the stray decision file among them.
expect_success report all --trace other.kvtape.h5 --out answers.html --overwrite
[[ $(grep -c 'left out' stderr) == $(($(grep -c 'left out' less_stderr) + 1)) ]] || complain "another recording: $(cat stderr)"
grep -q 'Token texts and needles are left out: the recording is .*, which the results do not fit' stderr ||
    complain "another recording: $(cat stderr)"
grep -q 'Fingerprints of the decisions.*snapkv at 10%' answers.html || complain 'results are left out with another recording'
! grep -q 'its fingerprint' answers.html || complain 'the page tells of another recording'
expect_success replay other.kvtape.h5 --policy snapkv --policy h2o --budget 10% --out stray --quiet
cp -r all strays
cp stray/{snapkv,h2o}@10-.prefill.agnostic.decisions.h5 strays
expect_success report strays --out strays.html
grep -qE 'Decisions of (snapkv|h2o) at 10% and of 1 further results are left out: they belong to the trace' stderr ||
    complain "stray decision files: $(cat stderr)"
cp -r all garbled
echo 'a,b' >garbled/bias.csv
expect_success report garbled
[[ $(grep -c 'bias\.csv' stderr) == 1 ]] || complain "a damaged bias.csv is not named once: $(cat stderr)"
# A table that ends early reads like a whole one: which results it lacks is said, in one line each.
expect_success report all --out whole.html
! grep -q 'lacks rows\|no whole curve' stderr || complain "of whole tables it says: $(cat stderr)"
for table in heads damage paged pareto compare curve; do
    rm -rf halved
    cp -r all halved
    head -n $(($(wc -l <"all/$table.csv") / 2)) "all/$table.csv" >"halved/$table.csv"
    expect_success report halved --out halved.html --overwrite
    [[ $(grep -c 'lacks rows\|no whole curve' stderr) == 1 ]] || complain "half of $table.csv: $(cat stderr)"
    grep -qE "<li>$table\.csv.* (lacks rows, which kvtape analyze adds,|holds no whole curve) of .*oracle" halved.html ||
        complain "the page does not say what half of $table.csv lacks: $(cat stderr)"
done
expect_success analyze looked
expect_success replay "$small" --policy knorm --budget 10% --out looked
expect_success report looked --out looked.html
grep -q 'Not among the analyzed results: knorm at 10%' stderr || complain "results after an analysis: $(cat stderr)"

# One file gone, one damaged, the recording gone: the page is still made and says so.
rm 'all/h2o@10-.prefill.agnostic.decisions.h5'
printf 'x' >'all/h2o@25-.prefill.agnostic.decisions.h5'
expect_success report all --out less.html --trace absent.h5
for part in 'Token texts and needles .*absent\.h5' 'h2o at 10%' 'h2o at 25%'; do
    grep -qE "$part" stderr || complain "it does not say what is missing: $part"
    grep -qE "<li>.*$part" less.html || complain "the page does not say what is missing: $part"
done
finish
