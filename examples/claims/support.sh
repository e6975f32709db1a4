# shellcheck shell=bash
# Sourced by the scripts of this folder: options, the program, the folder of results.
set -euo pipefail
claims=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

refuse() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

# count NAME VALUE LEAST: refuses a value that is no whole number, or below LEAST.
count() {
    if [[ ! $2 =~ ^[1-9][0-9]{0,5}$ ]] || (($2 < $3)); then
        refuse "$1 takes a whole number from $3 on, not '$2'"
    fi
}

# begin ABOUT SEQUENCES LENGTH ARGUMENT...: reads the arguments of the script over these defaults into
# `sequences`, `length` and `model` (an option of the verbs that run it, or nothing), finds the program,
# and goes into the folder of results.
begin() {
    local about=$1 out=
    sequences=$2 length=$3 model=()
    shift 3
    while (($#)); do
        case $1 in
            --help | -h)
                usage "$about"
                exit 0
                ;;
            --model)
                (($# >= 2)) || refuse '--model takes a folder'
                [[ -f $2/config.json ]] || refuse "--model $2: there is no config.json in it"
                model=(--model "$(readlink -f "$2")")
                shift
                ;;
            --sequences | --length)
                (($# >= 2)) || refuse "$1 takes a number"
                if [[ $1 == --length ]]; then
                    count "$1" "$2" 256
                    length=$2
                else
                    count "$1" "$2" 1
                    sequences=$2
                fi
                shift
                ;;
            -*) refuse "there is no option $1; --help lists them" ;;
            *)
                [[ -z $out ]] || refuse "one folder at most, not '$out' and '$1'"
                out=$1
                ;;
        esac
        shift
    done
    out=${out:-$claims/../../out/claims/$(basename "$0" .sh)}
    find_program
    command -v python3 >/dev/null || refuse 'python3 is not installed; it prints the tables'
    mkdir -p "$out" 2>/dev/null || refuse "$out cannot be made a folder"
    [[ -z $(ls -A "$out") ]] || refuse "$out is not empty; remove it or name another folder"
    cd "$out"
}

usage() {
    cat <<HELP
usage: examples/claims/${0##*/} [--model DIR] [--sequences N] [--length T] [OUT]

$1

  --model DIR    a checkpoint, for instance data/needle-model-trained; default: the needle model
  --sequences N  documents per task, default $sequences
  --length T     tokens of a document, default $length
  OUT            an empty or new folder for all results, up to 3 GB; default out/claims/$(basename "$0" .sh)

KVTAPE names the program; default: build/release/kvtape or build/dev/kvtape. docs/claims.md discusses the results.
HELP
}

find_program() {
    local candidate
    if [[ -z ${KVTAPE:-} ]]; then
        for candidate in "$claims"/../../build/{release,dev}/kvtape; do
            [[ -n ${KVTAPE:-} || ! -x $candidate ]] || KVTAPE=$candidate
        done
    fi
    [[ -n ${KVTAPE:-} ]] || refuse 'kvtape is not built; ./dev build does that, or KVTAPE names the program'
    KVTAPE=$(readlink -f "$(command -v "$KVTAPE")") || refuse 'KVTAPE names no program'
}

# run VERB ARGUMENT...: shows the command and runs it, with the chosen model; what it prints goes to log.txt.
run() {
    [[ $1 != record && $1 != live ]] || set -- "$@" "${model[@]}"
    printf '+ kvtape %s\n' "$*" | tee -a log.txt >&2
    "$KVTAPE" "$@" >>log.txt
}

# tables ARGUMENT...: runs tables.py.
tables() {
    python3 "$claims/tables.py" "$@"
}

# table TITLE ARGUMENT...: prints a table of tables.py under its title.
table() {
    printf '\n%s\n\n' "$1"
    tables "${@:2}"
}
