#!/usr/bin/env bash
# Compares the runtime with the transformers library of today: makes a virtual environment in
# build/parity, computes the vectors afresh and runs the parity tests of build/dev over them.
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
root=$(dirname "$(dirname "$here")")
work=$root/build/parity

if ! [[ -x $work/venv/bin/python ]]; then
    python3 -m venv "$work/venv"
fi
"$work/venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
"$work/venv/bin/python" "$here/make_vectors.py" "$work/vectors.json"
"$work/venv/bin/python" "$here/make_families.py" "$work/families"
"$work/venv/bin/python" "$here/make_tokenizers.py" "$work/tokenizers"
export KVTAPE_PARITY_VECTORS=$work/vectors.json KVTAPE_PARITY_FAMILIES=$work/families
export KVTAPE_PARITY_TOKENIZERS=$work/tokenizers
"$root/build/dev/tests/model_tests" "[parity]"
KVTAPE_TEST_PYTHON=$work/venv/bin/python "$root/tests/python/run.sh" "$root/build/dev/kvtape" "$work" \
    tests/test_capture.py tests/test_exactness.py
