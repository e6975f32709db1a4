#!/usr/bin/env bash
# A recording that is killed never gets its final name, and keeps the sequences it had finished.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

kill_at 5000000 record --model "$little" --workload passkey:digits=5 --sequences 2000 --length 256 --quiet --out long.kvtape.h5

[[ ! -e long.kvtape.h5 ]] || complain 'an unfinished recording has its final name'
expect_refusal 3 'long\.kvtape\.h5\.partial.*--partial' info long.kvtape.h5.partial
expect_success info --partial long.kvtape.h5.partial
expect_output 'passkey:digits=5'
expect_success info --partial --json long.kvtape.h5.partial

# Replaying it asks for --partial too, and then covers what was finished.
replay=(long.kvtape.h5.partial --policy knorm --budget 0.5 --out replayed)
expect_refusal 3 'long\.kvtape\.h5\.partial.*--partial' replay "${replay[@]}"
expect_absent replayed
expect_success replay "${replay[@]}" --sequences 0 --partial
[[ $(grep -c ',0000,' replayed/recall.csv) -gt 0 ]] || complain 'the first sequence was not replayed'

# All of them, as a finished recording of the same sequences would be.
finished=$(cut -d , -f 6 replayed/recall.csv | sort -u | grep -c '^[0-9]')
((finished == 1)) || complain "one sequence was asked for, $finished were replayed"
expect_success replay "${replay[@]:0:5}" --out replayed-all --partial
finished=$(cut -d , -f 6 replayed-all/recall.csv | sort -u | grep -c '^[0-9]')
((finished > 1)) || complain "only $finished finished sequences were replayed"
expect_success record --model "$little" --workload passkey:digits=5 --sequences "$finished" --length 256 --quiet \
    --out short.kvtape.h5
expect_success replay short.kvtape.h5 --policy knorm --budget 0.5 --out replayed-short
diff replayed-all/recall.csv replayed-short/recall.csv >difference ||
    complain "finished sequences of a killed recording give other numbers: $(head -n 3 difference)"

# A second recording does not take the place of what the first one left.
before=$(sha256sum <long.kvtape.h5.partial)
expect_refusal 2 'long\.kvtape\.h5\.partial.*--overwrite' \
    record --workload passkey:digits=5 --sequences 1 --length 128 --out long.kvtape.h5
[[ $(sha256sum <long.kvtape.h5.partial) == "$before" ]] || complain 'record changed the unfinished recording'
[[ ! -e long.kvtape.h5 ]] || complain 'record wrote beside the unfinished recording'

# A recording that is under way keeps its file, whatever a second one is told.
record=(record --model "$little" --workload passkey:digits=5 --length 256 --quiet --out taken.kvtape.h5)
"$program" "${record[@]}" --sequences 2000 &
recording=$!
until [[ -s taken.kvtape.h5.partial ]] || ! kill -0 "$recording" 2>/dev/null; do
    sleep 0.05
done
before=$(stat -c %i taken.kvtape.h5.partial)
expect_refusal 2 'taken\.kvtape\.h5\.partial: another kvtape is writing it; ' "${record[@]}" --sequences 1 --overwrite
[[ $(stat -c %i taken.kvtape.h5.partial) == "$before" ]] || complain 'the file of a live recording was taken away'
kill -9 "$recording" || complain 'the recording ended by itself'
wait "$recording" 2>/dev/null
expect_success "${record[@]}" --sequences 1 --overwrite
expect_success check taken.kvtape.h5

# A replay that is killed goes on where it stopped, over what it left half-written.
sweep=(replay short.kvtape.h5 --policies all --budget '1%..90%:20' --scores --quiet)
expect_success "${sweep[@]}" --out whole
rm -f whole/run.json
"$program" "${sweep[@]}" --out killed >/dev/null 2>&1 &
replaying=$!
until compgen -G 'killed/*.partial' >/dev/null || ! kill -0 "$replaying" 2>/dev/null; do
    sleep 0.02
done
kill -9 "$replaying" 2>/dev/null
wait "$replaying" 2>/dev/null
expect_success "${sweep[@]}" --out killed
rm -f killed/run.json
diff -r whole killed >difference || complain "a resumed replay differs: $(head -n 5 difference)"

# A damaged decision file is named and kept; once it is removed, it is made anew.
file=killed/knorm@0.01.prefill.agnostic.decisions.h5
[[ -e $file ]] || file=$(printf '%s\n' killed/knorm@*.decisions.h5 | head -n 1)
head -c 3000 "$file" >shortened
cp shortened "$file"
expect_refusal 3 'removed is computed again.*knorm@.*\.decisions\.h5' "${sweep[@]}" --out killed
cmp -s shortened "$file" || complain 'a damaged decision file was changed'
rm "$file"
expect_success "${sweep[@]}" --out killed
rm -f killed/run.json
diff -r whole killed >difference || complain "a decision file made anew differs: $(head -n 5 difference)"
finish
