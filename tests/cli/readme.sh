#!/usr/bin/env bash
# What README.md shows works as it stands: its two commands are offered by ./dev, and every kvtape line
# of its code blocks succeeds, in order, in one folder. Recordings are made shorter, nothing else differs.
# shellcheck source=tests/cli/support.sh
. "$(dirname "$0")/support.sh"

root=$here/../..
awk '/^```/ { inside = !inside; next } inside' "$root/README.md" >blocks

mapfile -t offered < <(sed -n 's|^\./dev \([a-z]*\).*#.*|\1|p' blocks | head -n 2)
[[ ${offered[*]} == 'demo test' ]] || complain "the first two commands of README.md are '${offered[*]}'"
"$root/dev" help >offers || complain './dev help fails'
for command in "${offered[@]}"; do
    grep -q "^  $command " offers || complain "./dev help does not offer $command"
done

# What the examples name: a checkpoint of the reader's own, and prompts.
mkdir -p models && ln -s "$(readlink -f "$root/data/needle-model")" models/Llama-3.2-1B
printf '{"context": "The gate is green. The pass key is 4 7 1.", "question": " What is the pass key?"}\n' \
    >my-prompts.jsonl

lines=0
while read -r _ line; do
    line=${line%%#*}
    line=${line//--length 2048 --sequences 8/--length 256 --sequences 1}
    line=${line//\~/$work}
    read -ra words <<<"$line"
    expect_success "${words[@]}"
    ((lines += 1))
done < <(grep '^kvtape ' blocks)
((lines >= 6)) || complain "README.md shows $lines kvtape lines, fewer than it did"
finish
