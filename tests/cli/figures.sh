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

expect_success record --workload passkey:digits=5 --sequences 2 --length 256 --device cpu --max-new-tokens 8 \
    --out two.kvtape.h5 --quiet
chosen=(--policy full --policy oracle --policy snapkv --policy finch --budget '10%,25%,64t')
expect_success replay two.kvtape.h5 "${chosen[@]}" --out replayed --quiet
expect_success live --like two.kvtape.h5 "${chosen[@]}" --max-new-tokens 8 --out live --quiet
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
draw --replay replayed --out png --format png --policies snapkv full || complain "png: $(cat stderr)"
[[ -s png/recall.png && -s png/heads.png ]] || complain 'no png'
grep -q '^accuracy: left out: no folder of kvtape live was named' stdout || complain "accuracy: $(cat stdout)"
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
refused '^drawing figures: .*summary.csv is not there' --replay nowhere
refused 'holds no policy snap; it holds' --replay replayed --policies snap
[[ ! -e none ]] || complain 'a refused call leaves a folder'
finish
