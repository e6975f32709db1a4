#!/usr/bin/env bash
# refresh.sh [PART]...: makes again what is derived from the weights of data/needle-model, or the named
# parts of it. `./dev refresh --help` explains it.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

kvtape=$PWD/build/dev/kvtape out=$PWD/out/refresh
parts=(vectors demo pictures guide claims truth evaluation)

usage() {
    cat <<'HELP'
usage: ./dev refresh [PART]...

Makes again what is derived from the weights of data/needle-model: all of it, or the named parts.

  vectors      tests/parity/vectors.json, by transformers (a virtual environment, fetched once)
  demo         ./dev demo, and its tables in README.md
  pictures     docs/img, from the page of the demo in Chromium; needs Node.js, pngquant and optipng
  guide        what stands under the blocks of docs/guide-python.md (the virtual environment of vectors)
  claims       the scripts of examples/claims: the tables of docs/claims-needle-model.md, and, over
               data/needle-model-trained, those of docs/claims.md that stand as printed
  truth        the commands of docs/does-replay-tell-the-truth.md; what they print is left to compare
  evaluation   the tables of right answers in data/needle-model/README.md and docs/needle-model.md,
               and every answer in train/evaluation.csv; continues where it was stopped, as long as
               the weights are the same

Recordings, tables and what was printed are in out/refresh. In the documents the numbers of tables
change, never words or the choice of rows; a table that no printed one matches (its columns were
chosen by hand) is named and stays: compare it with what was printed. Read the words around all
tables again: `git diff`. Not made again: docs/img/needle-curves.png (curves.py draws it behind a
training), how far docs/checkpoints.md says that the vectors moved. The evaluation takes hours.
HELP
}

fail() {
    printf 'refresh: %s\n' "$1" >&2
    exit 2
}

say() {
    printf '+ %s\n' "$*" >&2
}

run() {
    say "$@"
    "$@"
}

# fresh NAME: an empty folder for a part; its path is in `folder`.
fresh() {
    folder=$out/$1
    rm -rf "$folder"
    mkdir -p "$folder"
}

# The virtual environment of the parity tests; its path is in `environment`.
parity_environment() {
    environment=build/parity/venv
    [[ -x $environment/bin/python ]] || run python3 -m venv "$environment"
    run "$environment/bin/pip" install --quiet --requirement tests/parity/requirements.txt
}

vectors() {
    ./dev build dev
    parity_environment
    run "$environment/bin/python" tests/parity/make_vectors.py tests/parity/vectors.json
    run build/dev/tests/model_tests '[parity]'
}

demo() {
    fresh demo
    run ./dev demo | tee "$folder/printed.txt"
    run python3 tools/refresh_tables.py README.md "$folder/printed.txt"
}

pictures() {
    [[ -f out/demo/report.html ]] || fail 'there is no out/demo/report.html; refresh the part demo first'
    local tool
    for tool in pngquant optipng; do
        command -v "$tool" >/dev/null || fail "$tool is not installed; apt-get install $tool"
    done
    run tests/report/run.sh "$kvtape" build/dev/tests/report docs/img
}

guide() {
    ./dev build dev
    parity_environment
    fresh guide
    say "test_guide.py, into $folder/guide.md"
    KVTAPE_TEST_PYTHON=$PWD/$environment/bin/python KVTAPE_WRITE_GUIDE=$folder/guide.md \
        tests/python/run.sh "$kvtape" "$folder" tests/test_guide.py
    run cp "$folder/guide.md" docs/guide-python.md
}

# claims_of MODEL: the scripts over data/MODEL; what they printed is in `printed`.
claims_of() {
    local script
    printed=()
    for script in lagkv ems laser-kv heads; do
        fresh "claims/$1/$script"
        say "examples/claims/$script.sh --model data/$1 $folder"
        KVTAPE=$kvtape "examples/claims/$script.sh" --model "data/$1" "$folder" >"$out/claims/$1/$script.md"
        rm -f "$folder"/*.h5
        printed+=("$out/claims/$1/$script.md")
    done
}

claims() {
    ./dev build dev
    claims_of needle-model
    run python3 tools/refresh_tables.py docs/claims-needle-model.md "${printed[@]}"
    claims_of needle-model-trained
    run python3 tools/refresh_tables.py docs/claims.md "${printed[@]}"
}

# The code blocks of a document that begin with kvtape, as files 1.sh, 2.sh, ... of `folder`.
blocks_of() {
    awk -v folder="$folder" '
        /^```/ { inside = !inside; first = inside; next }
        inside && first { first = 0; mine = /^kvtape /; if (mine) file = folder "/" ++count ".sh" }
        inside && mine { print >file }' "$1"
}

truth() {
    ./dev build dev
    [[ -f out/demo/needles.kvtape.h5 ]] || fail 'there is no out/demo; refresh the part demo first'
    fresh truth
    blocks_of docs/does-replay-tell-the-truth.md
    local block schedule schedules
    for block in "$folder"/*.sh; do
        schedules=(as-it-stands)
        if grep -q SCHEDULE "$block"; then schedules=(block:256 prefill+decode block:256+decode); fi
        for schedule in "${schedules[@]}"; do
            local work=${block%.sh}-$schedule
            mkdir -p "$work/out"
            ln -s "$PWD/out/demo" "$work/out/demo"
            ln -s "$PWD/data" "$work/data"
            say "${block#"$PWD/"}, $schedule"
            (cd "$work" && PATH=$(dirname "$kvtape"):$PATH \
                bash -e <(sed "s|SCHEDULE|$schedule|" "$block") >printed.txt)
        done
    done
    printf 'refresh: compare %s/*/printed.txt with docs/does-replay-tell-the-truth.md\n' "$folder" >&2
}

# evaluate ARGUMENT...: continues the evaluation kept in `answers`, and prints its tables.
evaluate() {
    run data/needle-model/train/run.sh evaluate.py --seed 2027 --csv "$answers" --table "$@"
}

evaluation() {
    local weights answers document
    weights=$(sha256sum data/needle-model/model.safetensors)
    folder=$out/evaluation/${weights:0:12} answers=$folder/answers.csv
    mkdir -p "$folder"
    evaluate --lengths 512,1024,2048,4096,8192 --documents 100 | tee "$folder/printed.txt"
    evaluate --lengths 16384 --documents 20 --tasks passkey:digits=16 multikey:keys=4 multikey:keys=16 |
        tee -a "$folder/printed.txt"
    run cp "$answers" data/needle-model/train/evaluation.csv
    for document in data/needle-model/README.md docs/needle-model.md; do
        run python3 tools/refresh_tables.py "$document" "$folder/printed.txt"
    done
}

for word; do
    case $word in
        --help | -h)
            usage
            exit 0
            ;;
        *) [[ " ${parts[*]} " == *" $word "* ]] || fail "there is no part '$word'; the parts are ${parts[*]}" ;;
    esac
done
for part in "${@:-${parts[@]}}"; do
    "$part"
done
printf 'refresh: done; read the words around the tables again: git diff\n' >&2
