#!/usr/bin/env bash
# The program compiled for x86-64-v4 gives the same bits as the one for x86-64-v3.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

[[ -n $twin ]] || skip 'this build has no twin for x86-64-v4'
for feature in avx512f avx512bw avx512cd avx512dq avx512vl; do
    grep -qw "$feature" /proc/cpuinfo || skip "this CPU has no $feature"
done
for build in "$program" "$twin"; do
    name=$(basename "$build")
    "$build" record --workload passkey:digits=5 --workload where --sequences 1 --length 300 \
        --device cpu --out "$name.kvtape.h5" >stdout 2>stderr || complain "$name record: $(cat stderr)"
    "$build" replay "$name.kvtape.h5" --policies all --budget 5%,20% --scores \
        --out "replay-$name" >stdout 2>stderr || complain "$name replay: $(cat stderr)"
    rm -f "replay-$name/run.json"
done
diff -r replay-kvtape replay-kvtape_v4 >difference || complain "other bits: $(cat difference)"
finish
