#!/usr/bin/env bash
# Does LASER-KV keep more of what the question needs than methods that keep as many tokens?
# shellcheck source=examples/claims/support.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/support.sh"

begin 'LASER-KV (arXiv:2602.02199) beats SnapKV, PyramidKV and Finch on facts scattered over long filler, and its hybrid of
exact attention and hashing is better than either. Every method sees the question and keeps as many tokens.' \
    24 2048 "$@"

run record --workload where --workload object --sequences "$sequences" --length "$length" --seed 1 --out run.kvtape.h5

# Four blocks a document, as of 4,096 tokens in 16,384.
block=block=$((length / 4))
laser_kv=(--policy "laser_kv:$block" --policy "laser_kv:$block,selector=exact" --policy "laser_kv:$block,selector=lsh")
others=(--policy snapkv --policy pyramidkv --policy finch)
run replay run.kvtape.h5 "${laser_kv[@]}" --budget 12.5%,25% --out replay
budgets=$(tables kept replay "laser_kv:$block")
run replay run.kvtape.h5 "${others[@]}" --policy random --query-source question --budget "$budgets" --out replay
run replay run.kvtape.h5 --policy full --budget 100% --out replay
run replay run.kvtape.h5 --policy oracle --policy h2o --policy lagkv --budget "$budgets" --out replay
run analyze replay

run live --like run.kvtape.h5 "${laser_kv[@]}" --tasks where --budget 12.5%,25% --max-new-tokens 24 --out live
run live --like run.kvtape.h5 "${others[@]}" --policy random --tasks where --query-source question --budget "$budgets" \
    --max-new-tokens 24 --out live
run live --like run.kvtape.h5 --policy full --tasks where --budget 100% --max-new-tokens 24 --out live
run verify replay live

for parameter in alpha divisor; do
    if [[ $parameter == alpha ]]; then values=(0 0.25 0.5 0.75 1); else values=(3 4 6 8 16); fi
    run replay run.kvtape.h5 "${values[@]/#/--policy=laser_kv:$block,$parameter=}" --budget 25% --out "$parameter"
    run analyze "$parameter" --by "$parameter"
done

table 'Weighted needle recall' recall replay
table 'LASER-KV against others that kept as many tokens, weighted needle recall' pairs replay "laser_kv:$block"
table 'Exact attention against others' pairs replay "laser_kv:$block,selector=exact"
table 'Right answers, where' answers replay live
table 'Share of exact attention in the picks of hybrid' sweep alpha alpha
table 'Divisor n: a share 1/n of the budget for the first tokens, one for the latest' sweep divisor divisor
