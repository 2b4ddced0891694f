#!/usr/bin/env bash
# Writes down that something was shown of this commit, for `mapleai checklist`: evidence.sh ITEM passed|failed BY [DETAIL]
# BY is the command that showed it, or a person's name. What programs show of a checkout with changes is shown of no commit.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

[ $# -ge 3 ] || die "usage: evidence.sh ITEM passed|failed BY [DETAIL]"
item=$1 outcome=$2 by=$3 detail=${4:-}
[[ $item =~ ^[a-z][a-z-]{0,40}$ ]] || die "ITEM is of lower-case letters and '-', such as approval; not '$item'"
case $outcome in passed | failed) ;; *) die "the outcome is 'passed' or 'failed', not '$outcome'" ;; esac
[ -n "${by// /}" ] || die "BY must say who or what showed it"
if [[ $by == make\ * ]] && [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    echo "No evidence of '$item' was written: the checkout has changes that are in no commit"
    exit 0
fi
commit=$(git rev-parse HEAD)
folder=.local/evidence/$commit
mkdir -p "$folder"

quoted() {
    local text
    text=$(tr -d '\000-\037' <<<"$1")
    text=${text//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

printf '{"item": %s, "commit": "%s", "outcome": "%s", "by": %s, "detail": %s, "at": "%s"}\n' \
    "$(quoted "$item")" "$commit" "$outcome" "$(quoted "$by")" "$(quoted "$detail")" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    >"$folder/$item.json.new"
mv "$folder/$item.json.new" "$folder/$item.json"
echo "evidence of '$item' ($outcome): $folder/$item.json"
