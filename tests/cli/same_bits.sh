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
finish
