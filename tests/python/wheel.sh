#!/usr/bin/env bash
# wheel.sh FOLDER [PIP_OPTION...]: installs the package, program and all, into a fresh virtual
# environment in FOLDER, and uses it from there without anything of this tree.
set -euo pipefail
folder=$1
shift
package=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../../python")

rm -rf "$folder"
mkdir -p "$folder"
python3 -m venv "$folder/venv"
if ! "$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy h5py ml_dtypes xxhash; then
    echo 'skipped: numpy, h5py, ml_dtypes and xxhash could not be installed'
    exit 77
fi
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@" "$package"
cd "$folder"
env -i PATH=/usr/bin:/bin "$folder/venv/bin/kvtape" --version
env -i PATH=/usr/bin:/bin "$folder/venv/bin/python" - <<'PYTHON'
import numpy
import kvtape
from kvtape import program

installed = program.find_program()
assert installed.startswith(kvtape.__path__[0]), installed
kvtape.run(["record", "--workload", "passkey:digits=5", "--sequences", 1, "--length", 200, "--device", "cpu",
            "--max-new-tokens", 4, "--quiet", "--out", "run.kvtape.h5"])
assert kvtape.check("run.kvtape.h5").clean
kvtape.score("run.kvtape.h5", lambda keys: -numpy.linalg.norm(keys, axis=2), "norms.scores.h5")
done = kvtape.run(["replay", "run.kvtape.h5", "--policy", "scores:file=norms.scores.h5", "--budget", "25%",
                   "--out", "replay"])
assert {"summary", "recall"} <= set(done.tables), done.tables
PYTHON
