#!/usr/bin/env bash
# Every shell script of the project passes shellcheck.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."

if ! command -v shellcheck >/dev/null; then
    echo 'skipped: shellcheck is not installed; ./dev setup --checks installs it'
    exit 0
fi
mapfile -t scripts < <(find dev .ci/run core trace policies model sim analyze tools tests data examples \
    -name build -prune -o -type f \( -name '*.sh' -o -path dev -o -path .ci/run \) -print 2>/dev/null)
shellcheck -x "${scripts[@]}"
printf 'shellcheck passes on %s scripts\n' "${#scripts[@]}"
