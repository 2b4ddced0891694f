#!/usr/bin/env bash
# Every text file has LF in a clone made with core.autocrlf=true, as Git for Windows makes them: scripts would not start, and
# migrations would have other hashes. And none has the marks that Git leaves where a merge is to be decided.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"
if ! git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    echo "no Git clone: nothing to check"
    exit 0
fi

marks=$(git grep -nE '^(<<<<<<<|>>>>>>>) ' || true)
[ -z "$marks" ] || die "these have marks of a merge:"$'\n'"$marks"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is staged, committed or not.
git ls-files -z | git checkout-index -z --stdin --prefix="$work/tree/" -f
git -C "$work/tree" init -q
git -C "$work/tree" -c core.autocrlf=false add -f .
git -C "$work/tree" -c user.name=lint -c user.email=lint@maple.example -c core.hooksPath=/dev/null commit -qm tree
git -c core.autocrlf=true clone -q "$work/tree" "$work/clone"
wrong=$(git -C "$work/clone" ls-files --eol | grep -E 'w/(crlf|mixed)' || true)
[ -z "$wrong" ] || die "these have no LF in a clone with core.autocrlf=true; name them in .gitattributes:"$'\n'"$wrong"
