#!/usr/bin/env bash
# Runs kvtape's benchmarks beside kvpress, numpy and transformers, one after the other on the same machine, and prints the
# ratios. Virtual environments are made in .venv/ of the project, once.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."

program=${1:-build/dev/kvtape}
threads=${THREADS:-$(nproc)}
repetitions=${REPETITIONS:-5}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

environment() {
    local name=$1 folder=.venv/bench-$1
    if [[ ! -x $folder/bin/python ]]; then
        python3 -m venv "$folder"
        "$folder/bin/pip" install --quiet -r "tests/bench/$name/requirements.txt" >&2
    fi
    printf '%s/bin/python\n' "$folder"
}

"$program" bench scorers prompt --model data/needle-model-trained --threads "$threads" --repetitions "$repetitions" | tee "$results/kvtape"
"$(environment kvpress)" tests/bench/kvpress/score.py --threads "$threads" --repetitions "$repetitions" |
    tee "$results/kvpress"
"$(environment numpy)" tests/bench/numpy/score.py --threads "$threads" --repetitions "$repetitions" |
    tee "$results/numpy"
"$program" bench scorers --policy ems --threads "$threads" --repetitions "$repetitions" | tee "$results/ems"
"$(environment transformers)" tests/bench/transformers/prompt.py --model data/needle-model-trained --threads "$threads" \
    --repetitions "$repetitions" | tee "$results/transformers"

python3 - "$results" <<'PY'
import json
import pathlib
import sys

rows = {}
for file in pathlib.Path(sys.argv[1]).iterdir():
    for line in file.read_text().splitlines():
        row = json.loads(line)
        rows[row["bench"]] = row["seconds"]
# lagkv twice: compat=kvpress is the formula of LagKVPress, the plain one that of the paper's authors.
pairs = [
    ("score knorm", "kvpress knorm"),
    ("score lagkv:compat=kvpress", "kvpress lagkv"),
    ("score lagkv", "kvpress lagkv"),
    ("score snapkv", "kvpress snapkv"),
    ("score tova", "kvpress tova"),
    ("score expected_attention", "kvpress expected_attention"),
    ("score keydiff", "kvpress keydiff"),
    ("score ems", "numpy ems"),
    ("score h2o", "numpy h2o"),
    ("score r_kv", "numpy r_kv"),
    ("decide adakv", "numpy adakv"),
    ("hash laser_kv", "numpy laser_kv"),
    ("prompt", "transformers prompt"),
    ("prompt with recording in memory", "transformers prompt"),
    ("prompt with recording into a file", "transformers prompt"),
]
print(f"\n{'':36s}{'kvtape':>12s}{'other':>12s}{'ratio':>8s}")
for ours, theirs in pairs:
    print(f"{ours:36s}{rows[ours]:11.4f}s{rows[theirs]:11.4f}s{rows[theirs] / rows[ours]:7.1f}x")
PY
