#!/usr/bin/env bash
# run.sh PROGRAM FOLDER [PYTEST_ARGUMENT...]: the tests of the Python package over the built program;
# run.sh PROGRAM FOLDER --recording: those alone that record inside of transformers.
# Uses a Python that has what they import; otherwise makes a virtual environment in FOLDER, once.
set -euo pipefail
program=$1 folder=$2
shift 2
package=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../../python
needed='import h5py, ml_dtypes, numpy, pandas, pytest, xxhash'

python=
for candidate in ${KVTAPE_TEST_PYTHON:+"$KVTAPE_TEST_PYTHON"} python3 "$folder/venv/bin/python"; do
    if [[ -z $python ]] && "$candidate" -c "$needed" 2>/dev/null; then python=$candidate; fi
done
if [[ -z $python ]]; then
    python=$folder/venv/bin/python
    if ! { python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" install --quiet \
        --disable-pip-version-check numpy h5py ml_dtypes xxhash pandas pytest; } >&2; then
        echo 'skipped: numpy, h5py, ml_dtypes, xxhash, pandas and pytest could not be installed'
        exit 77
    fi
fi
cd "$package"
if [[ ${1:-} == --recording ]]; then
    if ! "$python" -c 'import torch, transformers' 2>/dev/null; then
        echo 'skipped: torch and transformers are not installed; ./dev test --parity installs them and runs these tests'
        exit 77
    fi
    set -- tests/test_capture*.py tests/test_exactness.py
fi
export KVTAPE=$program PYTHONPATH=$package/src${PYTHONPATH:+:$PYTHONPATH}
export PYTHONDONTWRITEBYTECODE=1 OMP_WAIT_POLICY=passive
exec "$python" -m pytest -q -rs "$@"
