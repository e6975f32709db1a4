#!/usr/bin/env bash
# Compares the runtime with the transformers library of today: makes a virtual environment in
# build/parity, computes the vectors afresh and runs the parity tests of build/dev over them. Records
# with the library of today and with the oldest one that the Python package supports.
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
export KVTAPE_TEST_PYTHON=$work/venv/bin/python
"$root/tests/python/run.sh" "$root/build/dev/kvtape" "$work" --recording

# Recording, with the oldest release that it supports, in front of the one of today.
if ! [[ -d $work/oldest/transformers ]]; then
    "$work/venv/bin/pip" install --quiet --target "$work/oldest" --requirement "$here/oldest.txt"
fi
PYTHONPATH=$work/oldest "$root/tests/python/run.sh" "$root/build/dev/kvtape" "$work" --recording
