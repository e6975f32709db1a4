# shellcheck shell=bash
# Sourced by the scripts of this folder: SCRIPT PROGRAM TWIN SCRATCH. PROGRAM is kvtape, TWIN the same
# for x86-64-v4 (or ""), SCRATCH the folder where record.sh leaves small.kvtape.h5. Every script works
# in an empty folder of its own and fails with a list of what was not as expected.
set -uo pipefail
program=$(readlink -f "$1") twin=${2:+$(readlink -f "$2")} scratch=$3
here=$(dirname "$(readlink -f "$0")") small=$scratch/small.kvtape.h5
# The model of two layers, which is fast and finds pass keys, where a test does not need a better one.
little=$(readlink -f "$here/../../data/needle-model-small")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
# A Python that has h5py, or "": Debian's package serves Debian's Python alone.
h5py=
for python in python3 /usr/bin/python3; do
    [[ -n $h5py ]] || ! "$python" -c 'import h5py' 2>/dev/null || h5py=$python
done
[[ -n $h5py ]] || echo 'without h5py some expectations are left out; ./dev setup --checks installs it'
# Used by the scripts that source this file.
export here twin small little h5py

complain() {
    printf 'FAILED: %s\n' "$1"
    ((failures += 1))
}

# finish: call it last; the exit code of the script.
finish() {
    ((failures == 0)) || printf '%s expectations failed\n' "$failures"
    exit $((failures > 0))
}

# expect_success ARGUMENT...: kvtape succeeds; its output is in ./stdout and ./stderr.
expect_success() {
    local code=0
    "$program" "$@" >stdout 2>stderr </dev/null || code=$?
    ((code == 0)) || complain "kvtape $*: exit $code: $(tail -n 3 stderr)"
    return "$code"
}

# expect_refusal CODE PATTERN ARGUMENT...: kvtape exits with CODE, says one line that matches the
# extended regular expression, and prints nothing on standard output.
expect_refusal() {
    local code=0 expected=$1 pattern=$2
    shift 2
    "$program" "$@" >stdout 2>stderr </dev/null || code=$?
    ((code == expected)) || complain "kvtape $*: exit $code, expected $expected: $(head -c 400 stderr)"
    (($(wc -l <stderr) == 1)) || complain "kvtape $*: $(wc -l <stderr) lines on stderr: $(cat stderr)"
    grep -qE "^kvtape: .*($pattern)" stderr || complain "kvtape $*: '$(cat stderr)' does not match '$pattern'"
    [[ ! -s stdout ]] || complain "kvtape $*: prints on standard output: $(head -n 3 stdout)"
}

# expect_output PATTERN: standard output of the last command matches.
expect_output() {
    grep -qE "$1" stdout || complain "the output does not match '$1': $(head -n 20 stdout)"
}

# expect_absent PATH...: nothing stands there, nor under its unfinished name.
expect_absent() {
    local path
    for path; do
        [[ ! -e $path && ! -e $path.partial ]] || complain "$path or $path.partial was left behind"
    done
}

# kill_at BYTES ARGUMENT... --out FILE: kvtape runs, and is killed once FILE.partial is that large.
kill_at() {
    local bytes=$1 size running
    shift
    "$program" "$@" >/dev/null 2>&1 &
    running=$!
    while kill -0 "$running" 2>/dev/null; do
        size=$(stat -c %s "${*: -1}.partial" 2>/dev/null || echo 0)
        ((size < bytes)) || break
        sleep 0.02
    done
    kill -9 "$running" || complain "kvtape $* ended by itself"
    wait "$running" 2>/dev/null
}

# skip REASON: ends the script as skipped.
skip() {
    printf 'skipped: %s\n' "$1"
    exit 77
}
