#!/usr/bin/env bash
# A recording that is killed never gets its final name, and keeps the sequences it had finished.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

"$program" record --workload passkey:digits=5 --sequences 2000 --length 256 --quiet --out long.kvtape.h5 &
recording=$!
while kill -0 "$recording" 2>/dev/null; do
    size=$(stat -c %s long.kvtape.h5.partial 2>/dev/null || echo 0)
    ((size < 12000000)) || break
    sleep 0.1
done
kill -9 "$recording" || complain 'the recording ended by itself'
wait "$recording" 2>/dev/null

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

# A second recording does not take the place of what the first one left.
before=$(sha256sum <long.kvtape.h5.partial)
expect_refusal 2 'long\.kvtape\.h5\.partial.*--overwrite' \
    record --workload passkey:digits=5 --sequences 1 --length 128 --out long.kvtape.h5
[[ $(sha256sum <long.kvtape.h5.partial) == "$before" ]] || complain 'record changed the unfinished recording'
[[ ! -e long.kvtape.h5 ]] || complain 'record wrote beside the unfinished recording'
finish
