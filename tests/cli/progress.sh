#!/usr/bin/env bash
# Long work says on standard error how far it has come and how long it will still take.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

# on_terminal ARGUMENT...: kvtape with standard error on a terminal; what it drew there is in ./drawn.
on_terminal() {
    python3 - "$program" "$@" <<'PYTHON' || complain "kvtape $*: $(tail -c 300 drawn)"
import os
import pty
import subprocess
import sys

ours, theirs = pty.openpty()
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
os.close(theirs)
with open("drawn", "wb") as drawn:
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # The other side is closed.
            break
        if not piece:
            break
        drawn.write(piece)
sys.exit(process.wait())
PYTHON
}

# drew PATTERN: it is in what was drawn, each state of the bar on a line of its own.
drew() {
    tr '\r' '\n' <drawn | grep -qE "$1" || complain "nothing drawn matches '$1': $(tr '\r' '\n' <drawn | tail -n 5)"
}

on_terminal record --workload passkey:digits=5 --sequences 1 --length 3000 --device cpu --threads 1 --max-new-tokens 4 \
    --out long.kvtape.h5
# Within the only sequence, chunk by chunk, with the time that is left of it.
drew 'recording sequence 0/1 \(passkey:digits=5, token [1-9][0-9]* of 30[0-9]+ of the prompt\), .* left'
(($(tr '\r' '\n' <drawn | grep -oE 'token [0-9]+ of 30[0-9]+' | sort -u | wc -l) > 2)) ||
    complain "the position moved too rarely: $(tr '\r' '\n' <drawn)"

on_terminal live --like long.kvtape.h5 --policy full --policy knorm --policy keydiff --policy streaming_llm \
    --budget 25%,50%,75% --device cpu --threads 1 --max-new-tokens 24 --out live
drew 'answering 0/[0-9]+ \(passkey:digits=5, token [1-9][0-9]* of 30[0-9]+ of the prompt\)'
drew 'answering [1-9][0-9]*/[0-9]+( \(.*\))?, .* left'

on_terminal record --workload passkey:digits=5 --sequences 1 --length 3000 --device cpu --threads 1 --max-new-tokens 4 \
    --quiet --out quiet.kvtape.h5
[[ ! -s drawn ]] || complain "--quiet drew $(cat drawn)"
finish
