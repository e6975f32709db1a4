#!/usr/bin/env bash
# A checkpoint is never copied into memory: what a prompt and its recording need is the cache, the activations of a chunk
# and one layer on its way to the file.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

bench=$here/../bench/large
# Two layers in the shape of Llama-3.2-1B and its whole vocabulary: 0.77 GB of weights. The cache of 2,048 tokens has 8 MB.
python3 "$bench/make_checkpoint.py" model --shape llama-3.2-1b --layers 2
python3 "$bench/measure.py" --program "$program" --model model --only prompt record --tokens 2048 --record 2048 >table 2>stderr ||
    complain "measuring: $(tail -n 3 stderr)"
cat table
rm -r model
for name in prompt record; do
    row=$(grep "^$name, 2048 tokens" table) || complain "no row of $name"
    awk '{ exit !($(NF - 3) < 0.25) }' <<<"$row" || complain "anonymous memory of $name above 0.25 GB: $row"
done
finish
