#!/usr/bin/env bash
# run.sh PROGRAM SCRATCH [IMAGES]: makes reports of small recordings, one of them hostile, and uses them
# in headless Chromium through playwright-core, which npm fetches into SCRATCH once. With IMAGES, takes
# the screenshots of docs/img from the results of `./dev demo`; pngquant and optipng make them smaller.
set -euo pipefail
program=$(readlink -f "$1") scratch=$2 images=${3:-}
here=$(dirname "$(readlink -f "$0")")

skip() {
    printf 'skipped: %s\n' "$1"
    exit 77
}
for tool in node npm; do
    command -v "$tool" >/dev/null || skip "$tool is not installed; apt-get install nodejs npm"
done
browser=$(command -v chromium || command -v chromium-headless-shell) ||
    skip 'Chromium is not installed; apt-get install chromium'
mkdir -p "$scratch"
if ! cmp -s "$here/package-lock.json" "$scratch/package-lock.json" || [[ ! -d $scratch/node_modules ]]; then
    cp "$here/package.json" "$here/package-lock.json" "$scratch"
    (cd "$scratch" && npm ci --no-audit --no-fund >npm.log 2>&1) ||
        { rm -f "$scratch/package-lock.json"; skip "npm cannot fetch playwright-core: $(tail -n 1 "$scratch/npm.log")"; }
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
quiet() {
    "$program" "$@" --quiet >"$work/output" 2>&1 || { cat "$work/output"; exit 1; }
}
policies=(--policy full --policy random --policy oracle --policy snapkv --policy lagkv --budget '5%,10%,25%,50%')

quiet record --workload passkey:digits=8 --workload where --sequences 4 --length 384 --max-new-tokens 8 \
    --out "$work/plain.kvtape.h5"
quiet replay "$work/plain.kvtape.h5" "${policies[@]}" --policy h2o --policy knorm --policy tova --policy keydiff \
    --policy streaming_llm --policy 'adakv(snapkv)' --curve --out "$work/plain"
quiet analyze "$work/plain"
quiet live --like "$work/plain.kvtape.h5" --policy full --policy random --policy snapkv --policy keydiff \
    --policy oracle --budget 10% --tasks passkey --out "$work/plain/live"
quiet verify "$work/plain" "$work/plain/live"
quiet report "$work/plain"

quiet replay "$work/plain.kvtape.h5" --policy knorm --policy keydiff --policy lagkv --budget '10%,25%' \
    --schedule block:64 --report --out "$work/blocks"

for schedule in prefill prompt; do
    for source in agnostic question; do
        quiet replay "$work/plain.kvtape.h5" --policy snapkv --policy h2o --budget '5%,10%,25%' \
            --query-source "$source" --schedule "$schedule" --out "$work/schedules"
    done
done
quiet analyze "$work/schedules"
quiet report "$work/schedules"

# What a recording may hold to run, to end an element, to turn lines round, or to be very wide.
python3 - "$work/hostile.jsonl" <<'PYTHON'
import json
import sys

pieces = ["</script><script>window.ran=1</script>", "<img src=x onerror='window.ran=1'>", "\u202eright to left\u202c",
          "שלום", "😀👩‍👩‍👧", "\u0000\u001b[31m", "&lt;b id=x&gt;<b id=x>", "{{data}}", "W" * 2000, "\u2028\u2029", "--><!--"]
needle = "The key is </script><script>window.ran=1</script> 4711."
task = "\u202etask\n" + "T" * 3000
context = " ".join(pieces) + " " + needle + " " + "The grass is green. " * 20
with open(sys.argv[1], "w") as file:
    print(json.dumps({"context": context, "question": "</script>?", "answer": "4711", "needles": [needle], "task": task}), file=file)
PYTHON
quiet record --prompts "$work/hostile.jsonl" --max-new-tokens 8 --out "$work/hostile.kvtape.h5"
hostile="$work/<img src=x onerror=window.ran=1>"
long_spec='adakv(snapkv:window=32,kernel=7,pool=max,group=before):alpha=0.2'
quiet replay "$work/hostile.kvtape.h5" "${policies[@]}" --policy "$long_spec" --curve --out "$hostile"
quiet analyze "$hostile"
quiet live --like "$work/hostile.kvtape.h5" --policy full --policy "$long_spec" --budget 10% --out "$hostile/live"
quiet verify "$hostile" "$hostile/live"
quiet report "$hostile"

page=$work/plain/report.html
[[ -z $images ]] || page=$here/../../out/demo/report.html
node "$here/browser.mjs" "$scratch" "$browser" "$page" "$work/blocks/report.html" "$hostile/report.html" \
    "$work/schedules/report.html" ${images:+"$images"} 2>"$work/errors" ||
    { cat "$work/errors"; exit 1; }
[[ -n $images ]] || exit 0
for tool in 'pngquant --quality 85-100 --speed 1 --strip --skip-if-larger --force --ext .png' 'optipng -quiet -o5'; do
    read -ra words <<<"$tool"
    command -v "${words[0]}" >/dev/null || printf '%s is not installed; the pictures are larger without it\n' "${words[0]}"
    ! command -v "${words[0]}" >/dev/null || "${words[@]}" "$images"/report*.png || (($? == 98 || $? == 99))
done
