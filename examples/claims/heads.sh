#!/usr/bin/env bash
# How many KV heads hold the needle, and how many does the answer need?
# shellcheck source=examples/claims/support.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/support.sh"

begin 'Heads differ in sparsity and redundancy (EMS, arXiv:2412.08521). Measures on some documents which heads read the
needle, and asks on others what the model still answers when the best readers alone remember it, or the worst alone.' \
    16 1024 "$@"

tasks=(--workload passkey:digits=16 --workload multikey:keys=4 --workload multikey:keys=16)
run record "${tasks[@]}" --sequences "$(((sequences + 1) / 2))" --length "$length" --max-new-tokens 32 \
    --seed 1 --out first.kvtape.h5
run replay first.kvtape.h5 --policy full --budget 100% --out first
tables values first >best_readers.txt
tables values first reversed >worst_readers.txt

run record "${tasks[@]}" --sequences "$sequences" --length "$length" --max-new-tokens 32 --seed 2 --out second.kvtape.h5
run replay second.kvtape.h5 --policy full --policy oracle --policy lagkv --policy snapkv --policy h2o \
    --policy random --budget 10% --out replay
run analyze replay

# A budget is the share of the 24 heads that keeps everything; all others stream.
shares=4.17%,8.34%,12.5%,25%,50%,75%,87.5%,91.67%,95.84%
streaming=by=share,sinks=16,recent=64
heads=(--policy "duo_attention:file=best_readers.txt,$streaming" --policy "duo_attention:file=worst_readers.txt,$streaming")
ends=(--policy full --policy streaming_llm:sinks=16 --budget 80t)
run replay second.kvtape.h5 "${heads[@]}" --budget "$shares" --out kept
run replay second.kvtape.h5 "${ends[@]}" --out kept
run live --like second.kvtape.h5 "${heads[@]}" --budget "$shares" --max-new-tokens 32 --out live
run live --like second.kvtape.h5 "${ends[@]}" --max-new-tokens 32 --out live
run verify kept live

table 'Reading of the needle, head by head' readers replay
table 'Heads that hold the needle, and how alike heads are' heads replay
table 'How sparse heads are, and how redundant what they evict' differences replay h2o
table 'Right answers when the best or the worst readers keep everything, all others 16 first and 64 latest tokens' \
    remembering kept live