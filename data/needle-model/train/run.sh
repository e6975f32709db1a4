#!/usr/bin/env bash
# run.sh PROGRAM [ARGUMENT]...: runs one of the programs beside this script, in the project's
# virtual environment, which is made and filled on first use.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
environment=$(dirname "$(dirname "$(dirname "$here")")")/.venv

if (($# == 0)); then
    printf 'usage: run.sh train.py|evaluate.py|evaluate_check.py|circuits_check.py|curves.py|prose.py|short_run.py|tokeniser.py|export.py [ARGUMENT]...\n' >&2
    exit 2
fi
program=$1
shift
if ! [[ -x $environment/bin/python ]]; then
    python3 -m venv "$environment"
fi
installed=$environment/needle-requirements.txt
if ! cmp --quiet "$here/requirements.txt" "$installed"; then
    "$environment/bin/pip" install --quiet --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$installed"
fi
exec "$environment/bin/python" "$here/$program" "$@"
