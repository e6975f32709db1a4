#!/usr/bin/env bash
# Which positions does each score prefer, and does EMS find a needle in under 2 % of the context?
# shellcheck source=examples/claims/support.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/support.sh"

begin 'Accumulated attention prefers early tokens, attention from a window late ones, the Global-Local score of EMS
(arXiv:2412.08521) neither; EMS retrieves 95 % with under 2 % of the context. Position bias is measured over documents
of half the length T. EMS is reconstructed from the abstract, the score formula and reviews.' \
    16 4096 "$@"

# Scores: accumulated attention and window attention pure, then the methods as they are.
run record --workload passkey:digits=16 --workload multikey:keys=4 --workload where \
    --sequences "$(((sequences + 1) / 2))" --length $((length / 2)) --seed 1 --out bias.kvtape.h5
run replay bias.kvtape.h5 --policy h2o:variant=factory,recent=0 --policy snapkv:window=32,kernel=1 --policy ems \
    --policy lagkv --policy h2o --policy snapkv --policy random --policy oracle --budget 10% --scores --out bias
run analyze bias

# Under 2 % of the context, at two moments: before the question is read, and behind it, where it votes.
run record --workload passkey:digits=5 --sequences "$sequences" --length "$length" --seed 2 --out needle.kvtape.h5
chosen=(--policy ems --policy ems:window=16 --policy ems:pool=max --policy ems:ragged=1 --policy ems:gamma=0
    --policy snapkv:window=32 --policy h2o --policy keydiff --policy random --policy oracle --budget "$((length / 51))t")
for schedule in prefill prompt; do
    run replay needle.kvtape.h5 "${chosen[@]}" --schedule "$schedule" --out "$schedule"
    run live --like needle.kvtape.h5 "${chosen[@]}" --schedule "$schedule" --max-new-tokens 16 --out "live-$schedule"
    run verify "$schedule" "live-$schedule"
done
more=(--policy ems --policy h2o --policy snapkv:window=32 --budget '5%,10%,25%,50%')
run replay needle.kvtape.h5 "${more[@]}" --schedule prompt --out prompt
run live --like needle.kvtape.h5 "${more[@]}" --schedule prompt --max-new-tokens 16 --out live-prompt
run replay needle.kvtape.h5 --policy full --budget 100% --schedule prompt --out prompt
run live --like needle.kvtape.h5 --policy full --budget 100% --schedule prompt --max-new-tokens 16 --out live-prompt

table 'Position bias' bias bias
table 'Right answers, decided before the question' answers prefill live-prefill
table 'Right answers, decided behind the question' answers prompt live-prompt
table 'Weighted needle recall, decided before the question' recall prefill
table 'Weighted needle recall, decided behind the question' recall prompt
