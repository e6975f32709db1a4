#!/usr/bin/env bash
# gpu-check.sh OUT: everything that only a GPU can show, in one go: builds, runs the CUDA tests, records with CUDA, answers
# with compressed caches on CUDA, compares with the CPU, measures. Leaves OUT/gpu-check.json (one entry a step: command,
# exit code, seconds, what it printed) and small recordings.
#
#   KVTAPE_BUILD    a build tree that is there already (with kvtape and tests/model_tests); default: ./dev build cuda
#   KVTAPE_DEVICE   cuda, or cpu to try the script out where there is no GPU
#   KVTAPE_LENGTHS  contexts to record, default "1000 4096 8000" (the needle model has 8192 positions; 1000 is no multiple
#                   of what goes through the model at a time)
#   KVTAPE_BENCH    context of the benchmarks, default 4096
#   KVTAPE_LARGE    contexts of the benchmarks in the layer shape of Llama 3.1 8B (random weights, made here, 1.8 GB),
#                   default "32768 131072", and "256" on the CPU
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit 1
out=${1:?usage: tools/gpu-check.sh OUT}
mkdir -p "$out" || exit 1
out=$(readlink -f "$out")
device=${KVTAPE_DEVICE:-cuda}
lengths=${KVTAPE_LENGTHS:-1000 4096 8000}
bench=${KVTAPE_BENCH:-4096}
if [[ $device == cuda ]]; then large=${KVTAPE_LARGE:-32768 131072}; else large=${KVTAPE_LARGE:-256}; fi
steps=$out/steps.jsonl
: >"$steps"
failed=0

# step NAME COMMAND...: runs the command and notes what came of it. may_differ NAME COMMAND...: the same, and exit code 1,
# by which `verify` says that two runs differ, is a finding and no failure.
may_differ() {
    tolerated=1 step "$@"
}
step() {
    local name=$1 code=0 begin end
    shift
    printf '== %s: %s\n' "$name" "$*"
    begin=$(date +%s.%N)
    "$@" >"$out/$name.txt" 2>&1 </dev/null || code=$?
    end=$(date +%s.%N)
    tail -n 5 "$out/$name.txt"
    ((code == 0 || code == ${tolerated:-0})) || failed=1
    python3 - "$name" "$code" "$begin" "$end" "$out/$name.txt" "$@" >>"$steps" <<'PYTHON'
import json
import sys

name, code, begin, end, log, *command = sys.argv[1:]
text = open(log, errors="replace").read()
print(json.dumps({"step": name, "command": command, "exit": int(code),
                  "seconds": round(float(end) - float(begin), 3), "output": text[-20000:]}))
PYTHON
    return "$code"
}

if [[ -n ${KVTAPE_BUILD:-} ]]; then
    build=$(readlink -f "$KVTAPE_BUILD")
else
    if [[ $device == cuda ]]; then preset=cuda; else preset=cpu; fi
    step build ./dev build "$preset" || exit 1
    build=build/$preset
fi
kvtape=$build/kvtape

if [[ $device == cuda ]]; then
    step machine nvidia-smi --query-gpu=name,driver_version,memory.total,compute_cap --format=csv
    step tests "$build/tests/model_tests" '[cuda]'
    if grep -q '^skipped' "$out/tests.txt"; then
        echo 'the CUDA tests were skipped: no usable GPU' >&2
        exit 1
    fi
fi

tasks=(--workload passkey:digits=16 --workload multikey:keys=4 --workload where
    --workload variable --workload multivalue --workload object)
extras=(--query-statistics --output-projection --queries replay)
for type in float32 bfloat16; do
    for length in $lengths; do
        name=record-$type-$length
        step "$name" "$kvtape" record "${tasks[@]}" --sequences 2 --length "$length" --max-new-tokens 32 \
            --device "$device" --dtype "$type" "${extras[@]}" --overwrite --out "$out/$name.kvtape.h5"
        # A second recording must be the same, bit for bit.
        step "$name-again" "$kvtape" record "${tasks[@]}" --sequences 2 --length "$length" --max-new-tokens 32 \
            --device "$device" --dtype "$type" "${extras[@]}" --overwrite --out "$out/again.kvtape.h5"
        for file in "$name" again; do
            "$kvtape" info "$out/$file.kvtape.h5" | grep -oE '\b[0-9a-f]{32}\b' | head -n 1
        done | uniq | wc -l | grep -qx 1 || { echo "$name: two recordings differ"; failed=1; }
        step "$name-check" "$kvtape" check "$out/$name.kvtape.h5"
    done
done

# One that is small enough to be kept (under 12 MB).
step record-small "$kvtape" record --workload passkey:digits=16 --sequences 1 --length 512 --max-new-tokens 32 \
    --device "$device" --dtype bfloat16 --overwrite --out "$out/small.kvtape.h5"

# Replay decides on the CPU over what was recorded on the device, live on the device.
first=${lengths%% *}
budgets=10%,25%,50%
for type in float32 bfloat16; do
    trace=$out/record-$type-$first.kvtape.h5
    step "replay-$type" "$kvtape" replay "$trace" --policies all --budget "$budgets" --quiet --out "$out/replay-$type"
    step "live-$type" "$kvtape" live --like "$trace" --policies all --budget "$budgets" --max-new-tokens 32 \
        --device "$device" --dtype "$type" --quiet --out "$out/live-$type"
    step "verify-$type" "$kvtape" verify "$out/replay-$type" "$out/live-$type"
    # The noise floor: the same on the CPU, and the same again.
    step "live-$type-again" "$kvtape" live --like "$trace" --policies all --budget "$budgets" --max-new-tokens 32 \
        --device "$device" --dtype "$type" --quiet --out "$out/live-$type-again"
    step "noise-$type" "$kvtape" verify "$out/live-$type" "$out/live-$type-again"
    step "live-$type-cpu" "$kvtape" live --like "$trace" --policies all --budget "$budgets" --max-new-tokens 32 \
        --device cpu --dtype "$type" --quiet --out "$out/live-$type-cpu"
    mkdir -p "$out/device-$type"
    may_differ "device-$type" "$kvtape" verify "$out/live-$type" "$out/live-$type-cpu" --out "$out/device-$type"
    for schedule in block:256 prefill+decode; do
        step "steps-$type-$schedule" "$kvtape" live --like "$trace" --policy h2o --policy tova --policy lagkv:lag=64 \
            --budget 25% --schedule "$schedule" --teacher --max-new-tokens 32 --device "$device" --dtype "$type" \
            --quiet --out "$out/steps-$type-$schedule"
    done
done

step bench-prompt "$kvtape" bench prompt --prompt-tokens "$bench" --device "$device"

# Llama's layer shape: what recording adds to a long prompt, and the most device memory that was in use, in MiB.
step large-checkpoint python3 tests/bench/large/make_checkpoint.py "$out/large"
for tokens in $large; do
    if [[ $device == cuda ]]; then
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=100 >"$out/memory-$tokens.txt" &
        watcher=$!
    fi
    step "bench-large-$tokens" "$kvtape" bench prompt --model "$out/large" --prompt-tokens "$tokens" --repetitions 2 \
        --device "$device"
    if [[ $device == cuda ]]; then
        kill "$watcher"
        wait "$watcher" 2>/dev/null
        step "memory-large-$tokens" sort --numeric-sort --reverse --unique "$out/memory-$tokens.txt"
    fi
done
# What people do today, at a length that its T x T matrices allow; needs PyTorch and transformers.
if python3 -c 'import torch, transformers' 2>/dev/null; then
    if [[ $device == cuda ]]; then type=bfloat16; else type=float32; fi
    step "bench-large-$bench" "$kvtape" bench prompt --model "$out/large" --prompt-tokens "$bench" --repetitions 2 --device "$device"
    step transformers python3 tests/bench/transformers/prompt.py --model "$out/large" --tokens "$bench" --repetitions 2 \
        --device "$device" --dtype "$type" --attentions
else
    echo 'the comparison with transformers was skipped: python3 has no torch and transformers'
fi
rm -rf "$out/large"

python3 - "$out" "$device" <<'PYTHON'
import csv
import json
import pathlib
import subprocess
import sys

out = pathlib.Path(sys.argv[1])
steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
tables = {}
for path in sorted(out.glob("*/calibration.csv")) + sorted(out.glob("*/teacher.csv")):
    tables[str(path.relative_to(out))] = list(csv.DictReader(path.open()))
accuracy = {}
for path in sorted(out.glob("*/answers.csv")):
    cells = {}
    for row in csv.DictReader(path.open()):
        cell = cells.setdefault(f"{row['policy']} at {row['budget']}", [0, 0])
        cell[0] += row["correct"] == "1"
        cell[1] += row["correct"] != "-1"
    accuracy[path.parent.name] = cells
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
result = {"commit": commit, "device": sys.argv[2], "steps": steps, "tables": tables, "accuracy": accuracy}
(out / "gpu-check.json").write_text(json.dumps(result, indent=1) + "\n")
good = sum(step["exit"] == 0 or step["step"].startswith("device-") for step in steps)
print(f"{good} of {len(steps)} steps succeeded; see {out / 'gpu-check.json'}")
PYTHON
rm -f "$out/again.kvtape.h5" "$steps"
exit "$failed"
