#!/usr/bin/env bash
# Files that are missing, malformed or damaged end in one line and the documented exit code.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

expect_refusal 4 'absent\.kvtape\.h5' info absent.kvtape.h5
expect_refusal 4 'absent\.kvtape\.h5' check absent.kvtape.h5
expect_refusal 4 'absent\.kvtape\.h5' replay absent.kvtape.h5 --policy knorm --budget 0.5 --out replayed
expect_absent replayed

printf 'these are not the bytes you are looking for' >text.kvtape.h5
: >empty.kvtape.h5
mkdir folder.kvtape.h5
for file in text empty; do
    expect_refusal 3 "$file\\.kvtape\\.h5" info "$file.kvtape.h5"
    expect_refusal 3 "$file\\.kvtape\\.h5" replay "$file.kvtape.h5" --policy knorm --budget 0.5 --out replayed
    expect_absent replayed
done
code=0
"$program" info folder.kvtape.h5 >stdout 2>stderr || code=$?
[[ $code == 3 || $code == 4 ]] || complain "info on a folder: exit $code"

for arguments in info check 'replay --policy knorm --budget 0.5 --out replayed'; do
    read -ra words <<<"$arguments"
    expect_refusal 3 'opening text\.kvtape\.h5: it is not an HDF5 file \(43 bytes\)' \
        "${words[0]}" text.kvtape.h5 "${words[@]:1}"
done

size=$(stat -c %s "$small")
for part in 1 2 3 7; do
    head -c $((size * part / 8)) "$small" >cut.kvtape.h5
    expect_refusal 3 'opening cut\.kvtape\.h5 \([0-9]+ bytes\): it is cut off' info cut.kvtape.h5
    expect_refusal 3 'cut\.kvtape\.h5' replay cut.kvtape.h5 --policy knorm --budget 0.5 --out replayed
    expect_absent replayed
    "$program" check cut.kvtape.h5 >stdout 2>stderr
    code=$?
    [[ $code == 1 || $code == 3 ]] || complain "check of a cut recording: exit $code"
done

# One flipped bit anywhere is found by check, and replay either refuses the file or gives the tables of
# the sound one: the bit was then in something that no replay reads, such as an unused output.
sound=(--policy snapkv --policy h2o --budget 0.5)
expect_success replay "$small" "${sound[@]}" --out sound
rm -f sound/run.json
# expect_same_tables DIR WHAT: those of DIR are those of the sound recording.
expect_same_tables() {
    rm -f "$1/run.json"
    diff -r sound "$1" >difference || complain "$2: replay gives other numbers: $(head -n 3 difference)"
}
for place in $(seq 1 24); do
    cp "$small" flipped.kvtape.h5
    python3 - flipped.kvtape.h5 "$place" <<'PYTHON'
import os
import sys

with open(sys.argv[1], "r+b") as file:
    offset = os.path.getsize(sys.argv[1]) * int(sys.argv[2]) // 25
    file.seek(offset)
    byte = file.read(1)[0]
    file.seek(offset)
    file.write(bytes([byte ^ 0x10]))
PYTHON
    "$program" check flipped.kvtape.h5 >stdout 2>stderr
    code=$?
    [[ $code == 1 || $code == 3 ]] || complain "bit flip $place/25: check exits $code"
    cat stdout stderr >>said
    "$program" info flipped.kvtape.h5 >/dev/null 2>>said
    "$program" check --json flipped.kvtape.h5 2>&1 | grep -q '"sequences":0' &&
        complain "bit flip $place/25: check counts no sequences"
    "$program" replay flipped.kvtape.h5 "${sound[@]}" --out "replay-$place" >stdout 2>stderr
    code=$?
    [[ $code == 0 || $code == 1 || $code == 3 ]] || complain "bit flip $place/25: replay exits $code: $(head -n 2 stderr)"
    cat stderr >>said
    if ((code != 0)); then
        (($(wc -l <stderr) == 1)) || complain "bit flip $place/25: replay says $(wc -l <stderr) lines"
    else
        expect_same_tables "replay-$place" "bit flip $place/25"
    fi
done

# No library speaks for us.
grep -iE 'H5[A-Z]|json\.exception|unable to|can.t (read|open|get)|superblock|address of' said >words
[[ ! -s words ]] || complain "words of a library: $(sort -u words)"

if [[ -n $h5py ]]; then
    damage() { # NAME CODE: applies the Python statements on standard input to a copy of the recording
        cp "$small" "$1.kvtape.h5"
        { printf 'import h5py, numpy\nwith h5py.File("%s.kvtape.h5", "r+") as trace:\n' "$1" && sed 's/^/    /'; } >damage.py
        "$h5py" damage.py || complain "the damage $1 could not be done"
        expect_refusal 3 "$1\\.kvtape\\.h5" replay "$1.kvtape.h5" --policy knorm --policy snapkv --budget 0.5 --out replayed
        expect_absent replayed
    }
    damage higher-version <<<'trace.attrs["kvtape_trace"] = numpy.bytes_("2.0")'
    damage no-version <<<'del trace.attrs["kvtape_trace"]'
    damage unfinished <<<'trace.attrs["complete"] = numpy.uint8(0)'
    damage no-keys <<<'del trace["sequences/0000/layers/000/keys"]'
    damage wrong-shape <<'PYTHON'
layer = trace["sequences/0000/layers/000"]
values = layer["keys"][:, :-1]
del layer["keys"]
layer["keys"] = values
PYTHON
    damage negative-heads <<<'trace.attrs["kv_heads"] = numpy.int32(-4)'
    damage odd-heads <<<'trace.attrs["kv_heads"] = numpy.int32(3)'
    damage huge-context <<<'trace["sequences/0000"].attrs["context_len"] = numpy.int32(1 << 30)'
    damage no-sequences <<<'del trace["sequences"]'
    damage no-fingerprint <<<'trace.attrs["fingerprint"] = numpy.bytes_("0" * 32)'
    damage unknown-layout <<<'trace.attrs["rope"] = numpy.bytes_(trace.attrs["rope"].replace(b"half", b"hald"))'

    # Written by plain h5py in the oldest format, headers and small datasets have no checksums. Then
    # replay recomputes the fingerprint before it computes anything.
    "$h5py" - "$small" <<'PYTHON' || complain 'the plain copy could not be made'
import sys

import h5py


def copy(source, target):
    for name in source.attrs:
        target.attrs.create(name, source.attrs[name], dtype=source.attrs.get_id(name).dtype)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            copy(item, target.create_group(name))
        else:
            target.create_dataset(name, data=item[()])


with h5py.File(sys.argv[1]) as source, h5py.File("plain.kvtape.h5", "w") as target:
    copy(source, target)
    sequence = target["sequences/0000"]
    places = [sequence[name].id.get_offset() for name in ("spans", "query_positions", "layers/000/column_sums")]
    places.append(sequence["layers/001/keys"].id.get_offset() + 4099)
content = open("plain.kvtape.h5", "rb").read()
# The value of an attribute stands behind its name, its type and its space.
name = content.find(b"context_len\0")
places += [name + distance for distance in range(12, 60)]
with open("places", "w") as file:
    file.writelines(f"{place}\n" for place in places)
PYTHON
    expect_success check plain.kvtape.h5
    expect_success replay plain.kvtape.h5 "${sound[@]}" --out plain
    expect_same_tables plain 'the plain copy'
    refused=0
    while read -r place; do
        cp plain.kvtape.h5 flipped.kvtape.h5
        python3 -c 'import sys
with open("flipped.kvtape.h5", "r+b") as file:
    file.seek(int(sys.argv[1]))
    byte = file.read(1)[0]
    file.seek(int(sys.argv[1]))
    file.write(bytes([byte ^ 1]))' "$place"
        code=0
        rm -rf flipped
        "$program" replay flipped.kvtape.h5 "${sound[@]}" --out flipped >stdout 2>stderr || code=$?
        if ((code == 0)); then
            expect_same_tables flipped "the plain copy with a bit flipped at $place"
        else
            [[ $code == 3 && $(wc -l <stderr) == 1 ]] ||
                complain "the plain copy with a bit flipped at $place: exit $code: $(head -n 2 stderr)"
            [[ ! -e flipped ]] || complain "a bit flipped at $place: results were written"
            ((refused += 1))
        fi
    done <places
    ((refused >= 5)) || complain "only $refused bit flips in the plain copy were found"
fi

expect_refusal 4 'nowhere' record --model nowhere --workload passkey --length 256 --out recorded.kvtape.h5
mkdir model
expect_refusal 4 'config\.json' record --model model --workload passkey --length 256 --out recorded.kvtape.h5
printf '{"architectures": ["PerceptronForCausalLM"]}' >model/config.json
expect_refusal 3 'model' record --model model --workload passkey --length 256 --out recorded.kvtape.h5
needle=$here/../../data/needle-model
cp "$needle"/config.json "$needle"/tokenizer.json model/
head -c 5000000 "$needle/model.safetensors" >model/model.safetensors
expect_refusal 3 'safetensors' record --model model --workload passkey --length 256 --out recorded.kvtape.h5
printf '\xff\xff\xff\xff\xff\xff\xff\x7f{}' >model/model.safetensors
expect_refusal 3 'safetensors' record --model model --workload passkey --length 256 --out recorded.kvtape.h5
cp "$needle/model.safetensors" model/
head -c 3000 "$needle/tokenizer.json" >model/tokenizer.json
expect_refusal 3 'tokenizer' record --model model --workload passkey --length 256 --out recorded.kvtape.h5

expect_refusal 4 'absent\.jsonl' record --prompts absent.jsonl --out recorded.kvtape.h5
printf '{"context": "one", "question": "what?"\n' >bad.jsonl
expect_refusal 3 'bad\.jsonl, line 1: not valid JSON: it ends too early' record --prompts bad.jsonl --out recorded.kvtape.h5
printf '{"context": "A fox.", "question": "Who?", "answer": "fox", "needles": ["wolf"]}\n' >lost.jsonl
expect_refusal 3 'lost\.jsonl.*wolf' record --prompts lost.jsonl --out recorded.kvtape.h5
printf '{"context": "A fox.", "question": "Who?", "answer": "fox", "needles": [[2, 99]]}\n' >beyond.jsonl
expect_refusal 3 'beyond\.jsonl' record --prompts beyond.jsonl --out recorded.kvtape.h5
expect_absent recorded.kvtape.h5
finish
