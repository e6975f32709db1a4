#!/usr/bin/env bash
# Nothing that exists is overwritten unasked, and what cannot be written is said in one line.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

record=(record --workload passkey:digits=5 --sequences 1 --length 128)
replay=(replay "$small" --policy knorm --budget 0.5)

printf 'precious' >kept.kvtape.h5
expect_refusal 2 'kept\.kvtape\.h5.*--overwrite' "${record[@]}" --out kept.kvtape.h5
[[ $(cat kept.kvtape.h5) == precious ]] || complain 'record overwrote a file'
expect_success "${record[@]}" --out kept.kvtape.h5 --overwrite
expect_success check kept.kvtape.h5

printf 'a file' >file
expect_refusal 4 'file/new\.kvtape\.h5' "${record[@]}" --out file/new.kvtape.h5
expect_refusal 4 'nowhere/new\.kvtape\.h5' "${record[@]}" --out nowhere/new.kvtape.h5
expect_refusal 4 '/proc/new\.kvtape\.h5' "${record[@]}" --out /proc/new.kvtape.h5
expect_refusal 4 'file' "${replay[@]}" --out file
expect_refusal 4 'file/new' "${replay[@]}" --out file/new
expect_refusal 4 '/proc/new' "${replay[@]}" --out /proc/new
[[ $(cat file) == 'a file' ]] || complain 'a file was overwritten'

mkdir locked
chmod a-w locked
if [[ ! -w locked ]]; then
    expect_refusal 4 'locked/new\.kvtape\.h5: Permission denied; ' "${record[@]}" --out locked/new.kvtape.h5
    expect_refusal 4 'locked.*Permission denied; ' "${replay[@]}" --out locked
else
    echo 'skipped: this user may write into folders without permission'
fi

# A file system that is mounted read-only refuses root too.
export program small
read_only() {
    # shellcheck disable=SC2016 # expanded inside
    "$@" bash -c 'mkdir -p sealed && mount -t tmpfs -o ro none sealed || exit 77
        "$program" record --workload passkey:digits=5 --sequences 1 --length 128 --out sealed/new.kvtape.h5 2>record
        recorded=$?
        "$program" replay "$small" --policy knorm --budget 0.5 --out sealed/new 2>replay
        [[ $recorded$? == 44 ]]' 2>mount
}
namespace=(unshare --mount)
((EUID == 0)) || namespace+=(--map-root-user)
code=0
read_only "${namespace[@]}" || code=$?
if ((code == 0)); then
    for verb in record replay; do
        grep -qE '^kvtape: .*sealed/new.*: Read-only file system; ' $verb ||
            complain "$verb to a read-only disk says $(cat $verb)"
        (($(wc -l <$verb) == 1)) || complain "$verb to a read-only disk says $(wc -l <$verb) lines"
    done
elif grep -qE 'unshare|mount' mount; then
    echo 'skipped: a read-only file system cannot be mounted here'
else
    complain "a read-only disk: exit codes are not 4: $(cat record replay mount)"
fi

code=0
"$program" policies >/dev/full 2>stderr || code=$?
((code == 4)) || complain "a full standard output: exit $code"

# Too many files open at once is said, with what to do.
(
    ulimit -n 8
    "$program" "${replay[@]}" --out many --budget 1%..90%:40
) >stdout 2>stderr
[[ $? == 2 || $? == 4 ]] || complain 'too many open files'
finish
