#!/usr/bin/env bash
# A recording that was cut off goes on where it stopped, and ends as if nothing had happened.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

for number in {1..40}; do
    printf '{"context": "The pass key of house %s is %s. It rained.", "question": "What is the pass key?", "answer": "%s", "needles": ["%s."]}\n' \
        "$number" "$((number * 7919))" "$((number * 7919))" "$((number * 7919))"
done >houses.jsonl
request=(record --prompts houses.jsonl --max-new-tokens 4 --quiet --threads 2)

expect_success "${request[@]}" --out whole.kvtape.h5 || finish
fingerprint=$(grep -oE '[0-9a-f]{32}' stdout)
expect_output '^template lexicon$'

# Killed while it runs: what was finished is taken over.
kill_at 1500000 "${request[@]}" --out cut.kvtape.h5
cp cut.kvtape.h5.partial half.kvtape.h5.partial
cp cut.kvtape.h5.partial other.kvtape.h5.partial
expect_refusal 2 '--resume goes on with it' "${request[@]}" --out cut.kvtape.h5
expect_success "${request[@]}" --resume --out cut.kvtape.h5
taken=$(sed -nE 's/^resumed ([0-9]+) of 40 sequences$/\1/p' stdout)
((taken > 0 && taken < 40)) || complain "$taken of 40 sequences were taken over"
expect_output "$fingerprint"
expect_success check cut.kvtape.h5
[[ $(echo cut.kvtape.h5*) == cut.kvtape.h5 ]] || complain "left behind: $(echo cut.kvtape.h5*)"

# Again: nothing to do.
before=$(stat -c %i cut.kvtape.h5)
expect_success "${request[@]}" --resume --json --out cut.kvtape.h5
[[ $(python3 -c 'import json; print(json.load(open("stdout"))["resumed"])') == 40 ]] ||
    complain 'a whole recording was not taken over'
[[ $(stat -c %i cut.kvtape.h5) == "$before" ]] || complain 'a whole recording was written anew'

# A recording grows with its file of prompts.
head -n 3 houses.jsonl >some.jsonl
expect_success record --prompts some.jsonl --max-new-tokens 4 --quiet --threads 2 --out grows.kvtape.h5
expect_success "${request[@]}" --resume --out grows.kvtape.h5
expect_output '^resumed 3 of 40 sequences$'
expect_output "$fingerprint"
expect_refusal 2 'holds 40 sequences, and only 3 are asked for' \
    record --prompts some.jsonl --resume --out grows.kvtape.h5

# A run that resumed and was cut off before it had caught up leaves the longer file in charge.
mv half.kvtape.h5.partial half.kvtape.h5.earlier
head -c 3000 half.kvtape.h5.earlier >half.kvtape.h5.partial
expect_refusal 2 'half.kvtape.h5.partial' "${request[@]}" --out half.kvtape.h5
expect_success "${request[@]}" --resume --out half.kvtape.h5
expect_output "^resumed $taken of 40 sequences$"
expect_output "$fingerprint"
[[ $(echo half.kvtape.h5*) == half.kvtape.h5 ]] || complain "left behind: $(echo half.kvtape.h5*)"

# What the earlier run did not record is refused, and its file stays.
sed 's/^\(.*\)rained/\1snowed/' houses.jsonl >snow.jsonl
other=(--resume --out other.kvtape.h5)
before=$(sha256sum <other.kvtape.h5.partial)
expect_refusal 2 'sequence 0 was another prompt' record --prompts snow.jsonl --max-new-tokens 4 "${other[@]}"
expect_refusal 2 'another answer' record --prompts houses.jsonl --max-new-tokens 7 "${other[@]}"
expect_refusal 2 'other --queries' "${request[@]}" --queries last=2 "${other[@]}"
expect_refusal 2 '--attention' "${request[@]}" --attention full "${other[@]}"
expect_refusal 2 'without --output-projection' "${request[@]}" --output-projection "${other[@]}"
expect_refusal 2 'another --dtype' "${request[@]}" --dtype bfloat16 "${other[@]}"
expect_refusal 2 'give one of them' "${request[@]}" --overwrite "${other[@]}"
[[ $(sha256sum <other.kvtape.h5.partial) == "$before" ]] || complain 'a refused run changed the earlier file'
expect_absent other.kvtape.h5.check

# What cannot be read is neither taken over nor overwritten.
head -c 3000 other.kvtape.h5.partial >torn.kvtape.h5.partial
expect_refusal 3 'resuming torn.kvtape.h5 .--overwrite' "${request[@]}" --resume --out torn.kvtape.h5
[[ $(stat -c %s torn.kvtape.h5.partial) == 3000 ]] || complain 'an unreadable recording was overwritten'

# Without an earlier run, --resume records everything.
expect_success "${request[@]}" --resume --out fresh.kvtape.h5
expect_output '^resumed 0 of 40 sequences$'
finish
