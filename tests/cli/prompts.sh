#!/usr/bin/env bash
# Prompts of one's own: several questions, other formats, templates, and what is refused.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

cat >houses.jsonl <<'JSON'
{"context": "The pass key is 48213. Remember it.", "task": "houses", "questions": [{"question": "What is the pass key?", "answer": "48213", "needles": ["48213"]}, {"question": "Is it?", "answer_prefix": " The pass key is"}]}

{"context": "The pass key is 777. It rained.", "question": "What is the pass key?", "answer": ["777"], "needles": [[16, 19]]}
JSON
expect_success record --prompts houses.jsonl --threads 2 --quiet --out houses.kvtape.h5 || finish
expect_output '^houses: 2 sequences'
expect_output '^prompts: 1 sequence'
expect_output '^template lexicon$'
expect_success check houses.kvtape.h5
expect_success replay houses.kvtape.h5 --policy knorm --budget 50% --out houses
for task in houses prompts; do
    grep -q ",$task," houses/recall.csv || complain "the task $task is not in the tables"
done

# RULER and BABILong.
cat >niah.jsonl <<'JSON'
{"index": 0, "input": "Some special magic numbers are hidden here.\nThe special magic number for amber fox is: 48213. It rained.\nWhat is the special magic number for amber fox?", "outputs": ["48213"], "length": 60}
JSON
expect_success record --prompts niah.jsonl --format ruler --threads 2 --quiet --out niah.kvtape.h5
expect_output '^ruler: 1 sequence'
cat >qa1.jsonl <<'JSON'
{"input": "Mary went to the garden. It rained all day.", "question": "Where is Mary?", "target": "garden"}
JSON
expect_success record --prompts qa1.jsonl --format babilong --template plain --threads 2 --quiet --out qa1.kvtape.h5
expect_output '^babilong: 1 sequence'
expect_output '^template plain$'
for trace in niah qa1; do
    expect_success replay "$trace.kvtape.h5" --policy oracle --budget 100% --out "$trace"
    grep -qE ',1(\.0+)?(,|$)' "$trace/recall.csv" || complain "$trace: no needle was found"
done

# A template of one's own.
expect_success record --prompts qa1.jsonl --format babilong --template '{context}\n\nQuestion: {question}\nAnswer:' \
    --threads 2 --quiet --json --out own.kvtape.h5
grep -q '"template":"own"' stdout || complain 'the template is not in the summary'

# Beyond the positions of the model it goes on, and says so once.
mkdir short
cp "$here"/../../data/needle-model/{tokenizer.json,lexicon.json,model.safetensors} short
sed 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 100/' \
    "$here/../../data/needle-model/config.json" >short/config.json
long=(--workload passkey:digits=5 --sequences 2 --threads 2 --max-new-tokens 8)
expect_success record --model short "${long[@]}" --length 96 --out long.kvtape.h5
grep -q '^kvtape: 2 sequences may become longer.* 100 positions.*: up to 1[0-9][0-9]\.' stderr ||
    complain "no warning of positions beyond the model's: $(cat stderr)"
expect_success live --model short --like long.kvtape.h5 --policy knorm --budget 50% --max-new-tokens 8 --out long
expect_refusal 2 "exceed the model's 100 positions, and what was recorded; lower --max-new-tokens to [0-8]$" \
    live --model short --like long.kvtape.h5 --policy knorm --budget 25% --max-new-tokens 9 --out long
expect_success record --model short "${long[@]}" --length 64 --quiet --out fits.kvtape.h5
[[ ! -s stderr ]] || complain "a warning of nothing: $(cat stderr)"
python3 - <<'PYTHON'
import json

config = json.load(open("short/config.json"))
config["rope_scaling"] = {"rope_type": "dynamic", "factor": 2.0}
json.dump(config, open("short/config.json", "w"))
PYTHON
expect_refusal 3 'recording sequence 0 .passkey.*"dynamic"' \
    record --model short "${long[@]}" --length 96 --out none.kvtape.h5

# A token that the model lacks, and a model that computes no numbers, are named with the sequence.
mkdir narrow
cp short/{tokenizer.json,lexicon.json,model.safetensors} narrow
sed 's/"vocab_size": [0-9]*/"vocab_size": 40/' "$here/../../data/needle-model/config.json" >narrow/config.json
expect_refusal 3 'recording sequence 0 .houses; houses.jsonl, line 1.: its token [0-9]+ .* vocabulary of 40' \
    record --model narrow --prompts houses.jsonl --out none.kvtape.h5
expect_refusal 3 'recording sequence 0 .passkey:digits=5.: its token' \
    record --model narrow "${long[@]}" --length 96 --out none.kvtape.h5
sed 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 100/' \
    "$here/../../data/needle-model/config.json" >narrow/config.json
python3 - <<'PYTHON'
import json

with open("narrow/model.safetensors", "r+b") as file:
    size = int.from_bytes(file.read(8), "little")
    begin, end = json.loads(file.read(size))["model.norm.weight"]["data_offsets"]
    file.seek(8 + size + begin)
    file.write(b"\xff" * (end - begin))
PYTHON
expect_refusal 3 'recording sequence 0 .passkey:digits=5.: running the model: it computed NaN .*float32 for token [0-9]+' \
    record --model narrow "${long[@]}" --length 96 --quiet --out none.kvtape.h5
expect_refusal 3 'running sequence 0000 .passkey:digits=5. live: running the model: it computed NaN' \
    live --model narrow --like fits.kvtape.h5 --policy knorm --budget 50% --max-new-tokens 8 --quiet --out none
rm -f none.kvtape.h5.partial

# What cannot work says so before anything runs.
echo '{"context": "a b", "question": "q", "needles": ["c d"]}' >needle.jsonl
expect_refusal 3 "needle.jsonl, line 1: it has a needle that is not in its context: 'c d'" \
    record --prompts needle.jsonl --out none.kvtape.h5
cat houses.jsonl needle.jsonl >both.jsonl
expect_refusal 3 'both.jsonl, line 4' record --prompts both.jsonl --out none.kvtape.h5
printf '%s\n' '{"input": "a\nb", "target": "b"}' >outputs.jsonl
expect_refusal 3 "lacks 'outputs'" record --prompts outputs.jsonl --format ruler --template plain --out none.kvtape.h5
expect_refusal 3 'has no token <.im_start' record --prompts houses.jsonl --template chatml --out none.kvtape.h5
expect_refusal 2 "--template is 'chatlm'" record --prompts houses.jsonl --template chatlm --out none.kvtape.h5
expect_refusal 2 "--template is '.question.'" record --prompts houses.jsonl --template '{question}' --out none.kvtape.h5
expect_refusal 2 '--template is empty' record --prompts houses.jsonl --template '' --out none.kvtape.h5
expect_refusal 2 "--format is 'longbench'" record --prompts houses.jsonl --format longbench --out none.kvtape.h5
expect_refusal 2 '--format is for --prompts' record --workload passkey --format ruler --out none.kvtape.h5
expect_refusal 2 '--template is for --prompts' record --workload passkey --template plain --out none.kvtape.h5
expect_refusal 4 'none.jsonl' record --prompts none.jsonl --out none.kvtape.h5
expect_refusal 2 'no regular file' record --prompts . --out none.kvtape.h5
mkfifo pipe
expect_refusal 2 'no regular file' record --prompts pipe --out none.kvtape.h5
expect_absent none.kvtape.h5
finish
