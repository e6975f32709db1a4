#!/usr/bin/env bash
# A disk that fills up ends in exit code 4 and leaves nothing half-written under a final name.
if [[ ${1:-} != --mounted ]]; then
    namespace=(unshare --mount)
    ((EUID == 0)) || namespace+=(--map-root-user)
    if ! "${namespace[@]}" bash -c 'mount -t tmpfs none /mnt' 2>/dev/null; then
        echo 'skipped: a small file system cannot be mounted here'
        exit 77
    fi
    exec "${namespace[@]}" "$0" --mounted "$@"
fi
shift
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

# fill SIZE ARGUMENT...: kvtape writes to ./disk, which holds SIZE bytes.
fill() {
    local size=$1 code=0
    shift
    mkdir -p disk
    mount -t tmpfs -o "size=$size" none disk
    "$program" "$@" >stdout 2>stderr || code=$?
    ((code == 4)) || complain "a disk of $size: exit $code: $(tail -n 2 stderr)"
    tail -n 1 stderr | grep -qE '^kvtape: .*(No space left|disk is full)' ||
        complain "a disk of $size: '$(tail -n 1 stderr)' does not say that it is full"
    (($(grep -c '^kvtape: ' stderr) == 1)) || complain "a disk of $size: more than one error"
    find disk -name '*.h5' -print0 | while IFS= read -r -d '' file; do
        "$program" check "$file" >/dev/null 2>&1 || printf '%s\n' "$file"
    done >damaged
    [[ ! -s damaged ]] || complain "a disk of $size: damaged under a final name: $(cat damaged)"
    [[ ! -d disk/replay || -z $(find disk/replay -name '*.partial') ]] ||
        complain "a disk of $size: the replay left $(ls disk/replay/*.partial)"
}

for size in 64k 1m 5m; do
    fill "$size" record --model "$little" --workload passkey:digits=5 --sequences 6 --length 256 --out disk/new.kvtape.h5
    umount disk
done
replay=(replay "$small" --policy knorm --policy snapkv --policy h2o --policy tova --budget '1%..90%:20' --scores)
expect_success "${replay[@]}" --out whole
rm -f whole/run.json
for size in 4k 64k 200k; do
    fill "$size" "${replay[@]}" --out disk/replay
    umount disk
done

# A disk that has room for the decisions but not for the last tables; then it is made larger, and the
# replay goes on where it stopped.
decisions=$(du -cB1 whole/*.decisions.h5 | tail -n 1 | cut -f1)
for room in $((decisions / 2)) $((decisions + 40000)) $((decisions + 140000)); do
    fill "$room" "${replay[@]}" --out disk/replay
    mount -o remount,size=64m disk
    expect_success "${replay[@]}" --out disk/replay
    rm -f disk/replay/run.json
    diff -r whole disk/replay >difference || complain "resumed at $room bytes: $(head -n 5 difference)"
    umount disk
done
finish
