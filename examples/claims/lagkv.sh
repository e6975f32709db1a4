#!/usr/bin/env bash
# Is LagKV near-lossless at 2x, about 90 % at 8x, and far better than H2O on a 64-digit pass key?
# shellcheck source=examples/claims/support.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/support.sh"

begin 'LagKV (arXiv:2504.04704) loses next to nothing at 2x, keeps about 90 % at 8x, and beats H2O on a 64-digit pass key.
H2O and others get as many tokens per head as LagKV really kept, and the model answers with each of these caches.' \
    16 2048 "$@"

run record --workload passkey:digits=64 --workload passkey:digits=16 --workload multikey:keys=4 \
    --workload multikey:keys=16 --sequences "$sequences" --length "$length" --max-new-tokens 80 --seed 1 --out run.kvtape.h5

# What LagKV is asked to keep in each partition, as the paper counts: 2x, 4x, 6x, 8x.
lagkv=(--policy lagkv --policy lagkv:lag=64 --budget '50%,25%,16.67%,12.5%')
run replay run.kvtape.h5 "${lagkv[@]}" --out replay
budgets=$(tables kept replay lagkv)
run replay run.kvtape.h5 --policy full --budget 100% --out replay
run replay run.kvtape.h5 --policy h2o --policy snapkv --policy streaming_llm --policy random --policy oracle \
    --budget "$budgets" --out replay
run analyze replay

run live --like run.kvtape.h5 "${lagkv[@]}" --max-new-tokens 80 --out live
run live --like run.kvtape.h5 --policy h2o --budget "$budgets" --max-new-tokens 80 --out live
run live --like run.kvtape.h5 --policy full --budget 100% --max-new-tokens 80 --out live
run verify replay live

table 'Right answers' answers replay live
table 'Leading digits of the 64-digit pass key' digits live passkey:digits=64
table 'LagKV against others that kept as many tokens, weighted needle recall' pairs replay lagkv
table 'Weighted needle recall' recall replay
