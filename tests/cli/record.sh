#!/usr/bin/env bash
# A model runs, and what it computed can be listed, checked and read by others.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_success record --model "$little" --workload passkey:digits=5 --workload where --sequences 2 --length 256 \
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

expect_success record --workload passkey:digits=5 --sequences 1 --length 160 --threads 2 \
    --query-statistics --output-projection --out extra.kvtape.h5 || finish
expect_success check extra.kvtape.h5
expect_success replay extra.kvtape.h5 --policy expected_attention \
    --policy 'criticalkv(expected_attention)' --budget 25% --out extra
expect_refusal 2 'leave out 4 sinks, not 8' replay extra.kvtape.h5 --policy expected_attention:sinks=8 \
    --budget 25% --out extra
expect_refusal 2 'record with --query-statistics or --queries all' replay "$small" \
    --policy expected_attention --budget 25% --out none
expect_refusal 2 'record with --output-projection' replay "$small" --policy 'criticaladakv(h2o)' \
    --budget 25% --out none
if [[ -n $h5py ]]; then
    "$h5py" - extra.kvtape.h5 <<'PYTHON' || complain 'h5py reads other statistics or projections'
import sys

import h5py

with h5py.File(sys.argv[1]) as trace:
    heads, size, width = (int(trace.attrs[name]) for name in ("query_heads", "head_dim", "hidden_size"))
    for layer in trace["sequences/0000/layers"].values():
        covariance = layer["query_covariance"][:]
        assert layer["query_mean"].shape == (heads, size)
        assert covariance.shape == (heads, size, size)
        assert (covariance == covariance.transpose(0, 2, 1)).all()
        assert (covariance.diagonal(axis1=1, axis2=2) >= 0).all()
    for layer in trace["model/layers"].values():
        assert layer["output_projection"].shape == (width, heads * size)
PYTHON
fi

expect_success record --workload passkey:digits=5 --sequences 1 --length 96 --threads 2 \
    --queries replay --output-projection --out replay.kvtape.h5 || finish
expect_success check replay.kvtape.h5
expect_success info replay.kvtape.h5
expect_output 'second pass'
expect_success replay replay.kvtape.h5 --policy kvzip --policy kvzip:plus=1 --budget 25% --out zip
expect_refusal 2 'record with --queries replay' replay "$small" --policy kvzip --budget 25% --out none
expect_refusal 2 'record with --output-projection --queries replay' replay "$small" --policy kvzip:plus=1 \
    --budget 25% --out none
expect_refusal 2 'defined for prefill' replay replay.kvtape.h5 --policy kvzip --schedule prompt \
    --budget 25% --out none
for words in replay,replay all,last=3 last=3,all all,replay,all 'replay,' ''; do
    expect_refusal 2 '--queries' record --queries "$words" --workload passkey --out none.kvtape.h5
done
finish
