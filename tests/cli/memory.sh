#!/usr/bin/env bash
# What recording and replay hold in memory does not grow with the number of sequences.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

# peak ARGUMENT...: kvtape's largest resident memory in KiB, in ./kibibytes.
peak() {
    python3 - "$program" "$@" >stdout 2>stderr <<'PYTHON' || complain "kvtape $*: $(tail -n 2 stderr)"
import resource
import subprocess
import sys

subprocess.run(sys.argv[1:], check=True, stdin=subprocess.DEVNULL)
with open("kibibytes", "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
PYTHON
}

for sequences in 4 24; do
    peak record --workload passkey:digits=5 --sequences "$sequences" --length 256 --device cpu --threads 1 \
        --max-new-tokens 8 --out "$sequences.kvtape.h5"
    cp kibibytes "record-$sequences"
    peak replay "$sequences.kvtape.h5" --policy knorm --policy snapkv --budget 0.5 --threads 1 --out "replayed-$sequences"
    cp kibibytes "replay-$sequences"
done
# A sequence is about 6 MiB here: 20 more of them would be 120 MiB.
size=$(stat -c %s 4.kvtape.h5)
((size > 4 * 4000000)) || complain "4 sequences take $size bytes, too few to tell"
for verb in record replay; do
    few=$(cat "$verb-4") many=$(cat "$verb-24")
    echo "$verb: $few KiB for 4 sequences, $many KiB for 24"
    ((many - few < 30000)) || complain "$verb holds $((many - few)) KiB more for 20 more sequences"
done
finish
