#!/usr/bin/env bash
# Recording and replay give the same bits for any number of threads.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

for threads in 1 2 7; do
    expect_success record --workload passkey:digits=5 --sequences 2 --length 300 --device cpu \
        --threads "$threads" --out "$threads.kvtape.h5"
    expect_success replay "$threads.kvtape.h5" --policies all --budget 5%,20% --scores \
        --threads "$threads" --out "replay-$threads"
    rm -f "replay-$threads/run.json"
    diff -r replay-1 "replay-$threads" >difference ||
        complain "$threads threads give other bits than one: $(cat difference)"
done

# The same for sequences longer than a chunk of a stored tensor, which holds 512 tokens.
for threads in 1 2 7; do
    expect_success record --workload passkey:digits=5 --sequences 1 --length 1100 --max-new-tokens 4 --device cpu \
        --threads "$threads" --out "long-$threads.kvtape.h5"
    expect_success replay "long-$threads.kvtape.h5" --policies all --budget 10% --scores \
        --threads "$threads" --out "replay-long-$threads"
    grep -o '"fingerprint":"[0-9a-f]*"' <("$program" info --json "long-$threads.kvtape.h5") >"print-$threads"
    rm -f "replay-long-$threads/run.json"
    diff -r replay-long-1 "replay-long-$threads" >difference ||
        complain "$threads threads give other bits than one over 1,100 tokens: $(cat difference)"
done
grep -q '[0-9a-f]\{32\}' print-1 || complain 'info --json names no fingerprint'
[[ $(sort -u print-1 print-2 print-7 | wc -l) == 1 ]] || complain 'recordings differ with the number of threads'
finish
