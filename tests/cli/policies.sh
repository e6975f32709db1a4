#!/usr/bin/env bash
# Policies made of others and of files: what makes no sense is refused in one line, before any work.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

# refuse CODE PATTERN SPEC
refuse() {
    expect_refusal "$1" "$2" replay "$small" --policy "$3" --budget 25% --out refused
    expect_absent refused
}

refuse 2 "there is no policy 'knrm'.*did you mean 'knorm'" 'paged(knrm)'
refuse 2 'full does not score tokens: it keeps them by their place.*paged\(snapkv\)' 'paged(full)'
refuse 2 'lagkv cuts by a rule of its own' 'adakv(lagkv)'
refuse 2 'paged wraps a policy itself' 'adakv(paged(snapkv))'
refuse 2 'takes one base, found .knorm,keydiff' 'paged(knorm,keydiff)'
refuse 2 'decides after every token' 'adakv(h2o:variant=step)'
refuse 2 'pyramidkv gives heads budgets of its own, which adakv would undo' 'adakv(pyramidkv)'
refuse 2 'compat=kvpress is an arithmetic of budgets, which criticalkv does' 'criticalkv(snapkv:compat=kvpress)'
refuse 2 'the scores of r_kv may be below zero' 'criticalkv(r_kv)'
refuse 2 'takes no base' 'r_kv(knorm)'
refuse 2 'takes no base' 'scores(knorm):file=F'
refuse 2 "the parentheses are empty" 'paged()'
refuse 2 'block.*1\.\.' 'paged(knorm):block=0'
refuse 2 'reduce.*max\|mean' 'paged(knorm):reduce=sum'
refuse 2 'lambda.*0\.\.1' 'r_kv:lambda=1.5'
refuse 2 'kernel.*odd' 'r_kv:kernel=4'
refuse 2 'threshold.*-1\.\.1' 'r_kv:threshold=nan'
refuse 2 'variant.*local\|online' 'h2o:variant=other'
refuse 2 'recent exists with variant=factory alone' 'h2o:recent=4'
refuse 2 'v_ratio, skip and use_then_compress do not exist' 'lagkv:compat=kvpress,use_then_compress=0'
refuse 2 'lagkv:use_then_compress=0 with the schedule prefill.*block:N with N at most 128' 'lagkv:use_then_compress=0'
refuse 2 'v_ratio does not exist with score=l2' 'lagkv:score=l2,v_ratio=1'
refuse 2 'p.*0\.\.1' 'oracle_top_p:p=2'
refuse 2 "'file' is not set" scores
refuse 2 "'file' is not set" 'headkv(snapkv)'
refuse 4 'absent' 'scores:file=absent'
refuse 4 'absent' 'duo_attention:file=absent'
refuse 4 "policy headkv, parameter 'file': opening nope: No such file" 'headkv(snapkv):file=nope'
refuse 4 "policy scores, parameter 'file': .*nope" 'scores:file=nope'
expect_refusal 2 'leaves out|choose one of these' replay "$small" --policy 'h2o:variant=step' \
    --budget 25% --schedule block:16 --out refused
expect_success replay "$small" --policy r_kv --policy 'paged(r_kv)' --budget 25% --curve --out curve
grep -q 'curve.csv leaves out paged' stderr || complain "--curve does not say what it leaves out: $(cat stderr)"
expect_success policies paged
expect_output 'block'

# Values of heads: the model's two layers of heads, another model's, and none.
"$program" info "$small" --json >info.json
read -r layers heads < <(python3 -c '
import json
model = json.load(open("info.json"))["shape"]
print(model["layers"], model["kv_heads"])')
line=$(seq -s , "$heads")
for ((layer = 0; layer < layers; ++layer)); do echo "$line"; done >fits.csv
echo "$line" | cat fits.csv - >deeper.csv
sed 's/$/,1,1,1,1,1,1,1,1,1/' fits.csv >wider.csv
sed 's/1,/-1,/' fits.csv >negative.csv
printf 'layer,head\n' >words.csv
head -c 100000 /dev/zero >zeros.csv
for policy in headkv duo_attention; do
    refuse 3 'deeper.csv: it has [0-9]+ layers, but the model has .* for another model' "$policy:file=deeper.csv"
    refuse 3 'wider.csv: layer 0 has [0-9]+ numbers, but the model has' "$policy:file=wider.csv"
    refuse 3 'negative.csv: layer 0 has a number below 0' "$policy:file=negative.csv"
    refuse 3 "words.csv: layer 0 holds 'layer'" "$policy:file=words.csv"
    refuse 3 'zeros.csv: layer 0 holds' "$policy:file=zeros.csv"
    refuse 3 'scores|HDF5|is not' "scores:file=fits.csv"
    expect_success replay "$small" --policy "$policy:file=fits.csv" --budget 50% --out "$policy"
    expect_success check "$policy"/*.decisions.h5
done

# Files of scores.
[[ -n $h5py ]] || finish
expect_success replay "$small" --policy knorm --budget 25% --scores --out scored
"$h5py" - "$small" scored/*.decisions.h5 <<'PYTHON' || complain 'the files of scores were not written'
import sys

import h5py
import numpy

trace, scored = map(h5py.File, sys.argv[1:])


def write(path, change=lambda layer, scores: scores, version="1.0", fingerprint=None):
    with h5py.File(path, "w") as out:
        if version:
            out.attrs["kvtape_scores"] = numpy.bytes_(version)
        mine = trace.attrs["fingerprint"]
        mine = mine.decode() if isinstance(mine, bytes) else mine
        out.attrs["trace_fingerprint"] = numpy.bytes_(fingerprint or mine)
        for name, sequence in trace["sequences"].items():
            for layer, data in sequence["layers"].items():
                norms = numpy.linalg.norm(data["keys"][:].astype("f8"), axis=2)
                scores = scored[f"sequences/{name}/layers/{layer}/scores"][:]
                asked = numpy.isfinite(scores)
                assert asked.any() and numpy.allclose(scores[asked], -norms[asked], rtol=1e-6)
                scores = numpy.where(asked, scores, -norms).astype("<f4")
                scores = change(layer, scores)
                if scores is not None:
                    out[f"sequences/{name}/layers/{layer}/scores"] = scores


def spoiled(value):
    def change(layer, scores):
        if layer == "001":
            scores[0, 3] = value
        return scores

    return change


write("norms.h5")
write("longer.h5", lambda layer, scores: numpy.pad(scores, ((0, 0), (0, 1))))
write("nan.h5", spoiled(numpy.nan))
write("inf.h5", spoiled(numpy.inf))
write("double.h5", lambda layer, scores: scores.astype("<f8"))
write("fewer.h5", lambda layer, scores: None if layer == "001" else scores)
write("unmarked.h5", version=None)
write("later.h5", version="2.0")
write("other.h5", fingerprint="0" * 32)
PYTHON
refuse 3 'longer.h5.*shape|longer.h5.*\[' 'scores:file=longer.h5'
refuse 3 'nan.h5.*not finite, of KV head 0 at position 3' 'paged(scores:file=nan.h5)'
refuse 3 'inf.h5.*not finite' 'scores:file=inf.h5'
refuse 3 'double.h5.*float' 'scores:file=double.h5'
refuse 3 'fewer.h5.*001' 'scores:file=fewer.h5'
refuse 3 'unmarked.h5.*not a file of scores' 'scores:file=unmarked.h5'
refuse 3 "later.h5.*version '2.0'" 'scores:file=later.h5'
refuse 3 'other.h5.*belongs to the trace 0000' 'scores:file=other.h5'
refuse 3 'small.kvtape.h5.*not a file of scores' "scores:file=$small"

# Scores that are the norms of the keys decide as knorm does.
expect_success replay "$small" --policy scores:file=norms.h5 --policy knorm --budget 25% --curve --out norms
python3 - norms/curve.csv <<'PYTHON' || complain 'the curve of scores that are norms is not that of knorm'
import csv
import sys

curves = {}
for row in csv.DictReader(open(sys.argv[1])):
    curves.setdefault(row["policy"].split(":")[0], []).append(row)
assert len(curves["scores"]) == len(curves["knorm"]) > 100, {name: len(rows) for name, rows in curves.items()}
for ours, theirs in zip(curves["knorm"], curves["scores"]):
    for column in ("tokens", "needle_recall", "mass_kept"):
        assert ours[column] == theirs[column], (column, ours, theirs)
PYTHON
expect_success diff norms/scores*.decisions.h5 norms/knorm*.decisions.h5
expect_output 'equal|same|identical|jaccard.* 1'
# Two specs whose files would have one name are refused before any work.
mkdir -p x && cp norms.h5 x/y.h5 && cp norms.h5 x-y.h5
expect_refusal 2 'would both be .*run them into two directories' replay "$small" --policy scores:file=x/y.h5 \
    --policy scores:file=x-y.h5 --budget 10% --out collide
expect_absent collide/index.csv
finish
