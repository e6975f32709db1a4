#!/usr/bin/env bash
# Policies inside the running model: the same decisions as in a replay, answers, bytes, bad input.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

"$program" record --workload passkey:digits=5 --workload passkey:digits=16 --workload multikey:keys=4 --workload where \
    --sequences 1 --length 256 --max-new-tokens 24 --query-statistics --output-projection --queries replay \
    --out four.kvtape.h5 --quiet >record.txt || complain 'recording four tasks'

# Every policy that decides once sees the same in both loops.
budgets=10%,30%,70%
expect_success replay four.kvtape.h5 --policies all --budget "$budgets" --out replayed --quiet
expect_success live --like four.kvtape.h5 --policies all --budget "$budgets" --max-new-tokens 24 --out live --quiet
expect_output '^full +([34])/4 +\1/4 +\1/4$'
expect_success verify replayed live
[[ $(grep -cE ' 1\.000 +1\.000 +yes$' stdout) == $(($(wc -l <live/index.csv) - 1)) ]] ||
    complain "replay and live part: $(grep -E ' no$' stdout)"
expect_output '^needle_recall_weighted +[0-9]+ '
for table in agreement drift parting calibration; do
    [[ -s live/$table.csv ]] || complain "verify wrote no $table.csv"
done
(($(wc -l <live/parting.csv) == 1)) || complain 'parting.csv lists heads although none part'

# Nothing is computed twice, and what is there stays.
cp live/answers.csv before.csv
expect_success live --like four.kvtape.h5 --policy full --budget 10% --max-new-tokens 24 --out live
expect_output 'there already'
cmp -s before.csv live/answers.csv || complain 'a second call changed answers.csv'

# Answers and decisions do not depend on the number of threads.
expect_success live --like four.kvtape.h5 --policy full --policy h2o --policy snapkv --budget 30% --max-new-tokens 24 \
    --threads 1 --out one --quiet
expect_success live --like four.kvtape.h5 --policy full --policy h2o --policy snapkv --budget 30% --max-new-tokens 24 \
    --threads 2 --out two --quiet
for file in answers.csv cache.csv index.csv h2o@30-.prefill.agnostic.decisions.h5; do
    cmp -s "one/$file" "two/$file" || complain "threads change $file"
done
expect_success check one/h2o@30-.prefill.agnostic.decisions.h5
expect_success diff replayed/h2o@30-.prefill.agnostic.decisions.h5 one/h2o@30-.prefill.agnostic.decisions.h5

python3 - one <<'PYTHON' || complain 'answers.csv or cache.csv say something else than expected'
import csv
import re
import sys

answers = list(csv.DictReader(open(sys.argv[1] + "/answers.csv")))
assert list(answers[0]) == ("policy parameters budget schedule sequence task correct answer generated_text "
                            "first_divergence kl_mean").split(), list(answers[0])
for row in answers:
    if row["policy"] == "full":
        assert row["first_divergence"] == "" and float(row["kl_mean"]) == 0.0, row
    # Right is an answer that stands free of letters and digits.
    free = rf"(?<![0-9A-Za-z]){re.escape(row['answer'])}(?![0-9A-Za-z])"
    assert (re.search(free, row["generated_text"]) is not None) == (row["correct"] == "1"), row
assert any(float(row["kl_mean"]) > 0.0 for row in answers if row["policy"] == "h2o")
for row in csv.DictReader(open(sys.argv[1] + "/cache.csv")):
    end, full, peak = (int(row[key]) for key in ("end_bytes", "full_bytes", "peak_bytes"))
    assert end <= peak
    # Room for the next tokens is part of what is held: up to 64 entries a head.
    share = 0.3 if row["policy"] != "full" else 1.0
    assert share * 0.9 * full < end < share * full + 64 * full / 256 * 1.3, row
PYTHON

# Block by block and token by token the loops may part, but never over the same keys, values and queries.
for schedule in block:96 prefill+decode; do
    expect_success live --like four.kvtape.h5 --policy h2o --policy tova --policy lagkv:lag=16 --budget 25% \
        --schedule "$schedule" --max-new-tokens 24 --teacher --out "steps-$schedule" --quiet
    (($(grep -c ',1,1$' "steps-$schedule/teacher.csv") == 12)) ||
        complain "$schedule, teacher-fed: $(grep -v ',1,1$' "steps-$schedule/teacher.csv")"
done

expect_success live --like four.kvtape.h5 --policy lagkv:lag=64,use_then_compress=0 --budget 25% \
    --schedule block:64+decode --max-new-tokens 24 --teacher --out ahead --quiet
(($(grep -c ',1,1$' ahead/teacher.csv) == 4)) || complain "decided ahead, teacher-fed: $(cat ahead/teacher.csv)"

# The question is asked anew over what every block left: the tape shows it as it was then.
expect_success live --like four.kvtape.h5 --policy laser_kv:block=64 --policy laser_kv:block=64,mode=recursive --budget 30% \
    --max-new-tokens 24 --teacher --out asked --quiet
(($(grep -c ',1,1$' asked/teacher.csv) == 8)) || complain "laser_kv, teacher-fed: $(cat asked/teacher.csv)"
expect_success live --like four.kvtape.h5 --policy finch --budget 30% --schedule block:64 --max-new-tokens 24 --teacher \
    --out voted --quiet
(($(grep -c ',1,1$' voted/teacher.csv) == 4)) || complain "finch, teacher-fed: $(cat voted/teacher.csv)"

# A directory holds answers of one setting, and every decision file has its rows.
expect_success live --like four.kvtape.h5 --policy tova --budget 25% --max-new-tokens 8 --out held --quiet
cp -r held spoiled
expect_refusal 2 'held: its answers were computed with max_new_tokens 8, not 9' \
    live --like four.kvtape.h5 --policy knorm --budget 25% --max-new-tokens 9 --out held
expect_refusal 2 'held: its answers were computed with dtype "float32", not "bfloat16"' \
    live --like four.kvtape.h5 --policy knorm --budget 25% --max-new-tokens 8 --dtype bfloat16 --out held
cp held/run.json kept.json
expect_success live --like four.kvtape.h5 --policy tova --budget 25% --max-new-tokens 8 --out held
cmp -s held/run.json kept.json || complain 'a run that had nothing to do rewrote run.json'
rm spoiled/cache.csv
expect_refusal 2 'cache.csv has no row of it for sequence' \
    live --like four.kvtape.h5 --policy tova --budget 25% --max-new-tokens 8 --out spoiled
echo broken >spoiled/answers.csv
expect_refusal 3 'spoiled/answers.csv: it has other columns' \
    live --like four.kvtape.h5 --policy knorm --budget 25% --max-new-tokens 8 --out spoiled
expect_absent spoiled/knorm*
cp held/answers.csv spoiled/answers.csv
echo 'tova,{}' >>spoiled/answers.csv
expect_refusal 3 'spoiled/answers.csv: a record has 2 fields, expected 11' \
    live --like four.kvtape.h5 --policy knorm --budget 25% --max-new-tokens 8 --out spoiled

# Bad input: one line, before anything is written.
refuse() {
    local code=$1 pattern=$2
    shift 2
    expect_refusal "$code" "$pattern" live "$@"
    expect_absent nowhere
}
refuse 2 'live needs TRACE' --policy full --budget 10% --out nowhere
refuse 4 'missing.kvtape.h5' --like missing.kvtape.h5 --policy full --budget 10% --out nowhere
refuse 2 "there is no policy 'snapvk'" --like four.kvtape.h5 --policy snapvk --budget 10% --out nowhere
refuse 2 'budget' --like four.kvtape.h5 --policy snapkv --budget 0 --out nowhere
refuse 2 'max-new-tokens is -1' --like four.kvtape.h5 --policy snapkv --budget 10% --max-new-tokens -1 --out nowhere
refuse 2 'exceed the model' --like four.kvtape.h5 --policy snapkv --budget 10% --max-new-tokens 999999 --out nowhere
refuse 2 "device is 'tpu'" --like four.kvtape.h5 --policy snapkv --budget 10% --device tpu --out nowhere
refuse 2 'attention over tokens that it evicted' --like four.kvtape.h5 --policy h2o:variant=step --budget 10% --out nowhere
refuse 2 'defined for prefill, prompt' --like four.kvtape.h5 --policy snapkv --budget 10% --schedule block:64 --out nowhere
expect_refusal 2 'it comes from a replay' live --like four.kvtape.h5 --policy full --budget 10% --out replayed
expect_refusal 2 'it comes from a live run' replay four.kvtape.h5 --policy full --budget 10% --out live
expect_refusal 4 'index.csv' verify replayed .
cp -r live further
sed -n '2s/^[^,]*/none.decisions.h5/p' live/index.csv >>further/index.csv
"$program" verify replayed further --out named >/dev/null 2>stderr || complain "verify of a directory with more: $(cat stderr)"
grep -qE '1 results of further have no partner in replayed \([a-z_0-9]+ at [^)]*\)' stderr || complain "verify does not name what it leaves out: $(cat stderr)"
mkdir other
cp -r "$here/../../data/needle-model" other/model
sed -i 's/"rope_theta": [0-9.]*/"rope_theta": 20000.0/' other/model/config.json
cp -r "$here/../../data/needle-model" relabelled
python3 - relabelled/tokenizer.json <<'PYTHON'
import json
import sys

tokenizer = json.load(open(sys.argv[1]))
words = tokenizer["model"]["vocab"]
words["3"], words["7"] = words["7"], words["3"]
json.dump(tokenizer, open(sys.argv[1], "w"))
PYTHON
refuse 3 'stands for "[37]", and for "[37]" in this tokenizer' \
    --like four.kvtape.h5 --model relabelled --policy full --budget 10% --out nowhere
refuse 3 'recorded from .* with rope_theta' --like four.kvtape.h5 --model other/model --policy full --budget 10% --out nowhere

[[ -n $h5py ]] || finish
# A run that fails half way keeps what was finished, and what it was run with: here the scores end before the answer does.
expect_success record --workload passkey:digits=16 --sequences 2 --length 256 --max-new-tokens 4 --device cpu \
    --out short.kvtape.h5 --quiet
"$h5py" - short.kvtape.h5 <<'PYTHON'
import sys

import h5py
import numpy

with h5py.File("short.h5", "w") as out, h5py.File(sys.argv[1]) as trace:
    out.attrs["kvtape_scores"] = numpy.bytes_("1.0")
    out.attrs["trace_fingerprint"] = numpy.bytes_(trace.attrs["fingerprint"])
    for name, sequence in trace["sequences"].items():
        for layer, data in sequence["layers"].items():
            out[f"sequences/{name}/layers/{layer}/scores"] = numpy.ones(data["keys"].shape[:2], "<f4")
PYTHON
expect_refusal 2 'half, where the sequences that were finished stay: running sequence 0000 .passkey:digits=16. live: policy scores: .* cannot use them' \
    live --like short.kvtape.h5 --policy tova --policy scores:file=short.h5 --budget 50% \
    --schedule prefill+decode --max-new-tokens 24 --out half
expect_success check half/tova*.decisions.h5
(($(grep -c '^tova,' half/answers.csv) == 1)) || complain "half a run left $(cat half/answers.csv)"
expect_absent half/scores* half/*.partial
expect_refusal 2 'max_new_tokens 24, not 4' \
    live --like short.kvtape.h5 --policy knorm --budget 50% --max-new-tokens 4 --out half

finish
