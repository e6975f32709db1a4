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
    expect_refusal 4 'locked/new\.kvtape\.h5' "${record[@]}" --out locked/new.kvtape.h5
    expect_refusal 4 'locked' "${replay[@]}" --out locked
fi

code=0
"$program" policies >/dev/full 2>stderr || code=$?
((code == 4)) || complain "a full standard output: exit $code"
finish
