#!/usr/bin/env bash
# run.sh PROGRAMS SECONDS [NAME]: fuzzes one target, or every one, two at a time. New inputs are kept
# in PROGRAMS/corpus/NAME, what fails in PROGRAMS/findings.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
programs=$1 seconds=$2 name=${3:-}

if [[ -z $name ]]; then
    find "$programs" -maxdepth 1 -name '*_fuzz' -printf '%f\n' | sed 's/_fuzz$//' | LC_ALL=C sort |
        xargs -P 2 -I NAME "$here/run.sh" "$programs" "$seconds" NAME
    exit
fi

program=$programs/${name}_fuzz corpus=$programs/corpus/$name log=$programs/$name.log
mkdir -p "$corpus" "$programs/findings"
status=0
export LSAN_OPTIONS=suppressions=$here/leaks.supp:print_suppressions=0
"$program" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 \
    -artifact_prefix="$programs/findings/$name-" -print_final_stats=1 \
    "$corpus" "$here/seeds/$name" >"$log" 2>&1 || status=$?
if ((status != 0)); then
    printf 'fuzzing %s failed (exit %s); the input is in %s\n' "$name" "$status" "$programs/findings"
    tail -n 60 "$log"
    exit 1
fi
printf '%s: clean after %s runs in %s s\n' "$name" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$seconds"
