#!/usr/bin/env bash
# A model runs, and what it computed can be listed, checked and read by others.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_success record --workload passkey:digits=5 --workload where --sequences 2 --length 256 \
    --threads 2 --overwrite --out "$small" || finish
expect_output 'passkey:digits=5'
expect_output 'where'
expect_output '[0-9a-f]{32}'
expect_absent "$small.partial"
fingerprint=$(grep -oE '[0-9a-f]{32}' stdout | head -n 1)

expect_success info "$small"
expect_output "$fingerprint"
expect_output 'passkey:digits=5'
expect_success info --json "$small"
python3 -m json.tool stdout >/dev/null || complain 'info --json does not print one JSON document'
expect_success check "$small"

if command -v h5ls >/dev/null; then
    h5ls -r "$small" >listing || complain 'h5ls cannot list the recording'
    grep -q '^/sequences/0003' listing || complain 'h5ls does not see the fourth sequence'
fi
if [[ -n $h5py ]]; then
    "$h5py" - "$small" <<'PYTHON' || complain 'h5py reads something else'
import sys

import h5py

with h5py.File(sys.argv[1]) as trace:
    layers, heads, size = (int(trace.attrs[name]) for name in ("layers", "kv_heads", "head_dim"))
    for sequence in trace["sequences"].values():
        tokens = len(sequence["tokens"])
        assert len(sequence["layers"]) == layers
        for layer in sequence["layers"].values():
            assert layer["keys"].shape == layer["values"].shape == (heads, tokens, size)
PYTHON
fi
finish
