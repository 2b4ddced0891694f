#!/usr/bin/env bash
# Prints the commit of the previous release and the path of its binary, which is built when it is not in the cache and has its
# configuration beside it: the commit that MAPLE_PREVIOUS names, or the last tag before this commit. While there is no tag, the commit
# in `released` beside this file, which is what runs; in a history without that one, the newest commit that lacks a migration of ours
# and whose own are all among ours, by number, name and content. One that numbered them otherwise cannot share a schema with us, and
# was no release.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

[ "$(git rev-parse --is-shallow-repository)" = false ] || die "the history is cut off; fetch all of it (git fetch --unshallow)"

# migrations COMMIT: mode, content and name of each.
migrations() {
    git ls-tree "$1" migrations/ | grep '\.up\.sql$' | sort || true
}

if [ -n "${MAPLE_PREVIOUS:-}" ]; then
    commit=$(git rev-parse --verify --quiet "$MAPLE_PREVIOUS^{commit}") || die "there is no commit $MAPLE_PREVIOUS"
elif tag=$(git describe --tags --abbrev=0 HEAD^ 2>/dev/null); then
    commit=$(git rev-list -n 1 "$tag")
elif [ -f "$here/released" ] && git merge-base --is-ancestor "$(<"$here/released")" HEAD 2>/dev/null; then
    commit=$(<"$here/released")
else
    newest=$(git ls-files 'migrations/*.up.sql' | sort | tail -n 1)
    [ -n "$newest" ] || die "there is no migration in migrations/"
    git cat-file -e "HEAD:$newest" 2>/dev/null || die "$newest is in no commit yet; commit it first"
    ours=$(migrations HEAD)
    commit=
    # By the first parents: one may have come with a merge, to which git log alone would not own up.
    for changed in $(git log --first-parent -m --format=%H -- migrations/); do
        before=$(git rev-parse --verify --quiet "$changed^") || break
        theirs=$(migrations "$before")
        if [ "$theirs" != "$ours" ] && [ -z "$(comm -13 <(echo "$ours") <(echo "$theirs") | sed '/^$/d')" ]; then
            commit=$before
            break
        fi
    done
    [ -n "$commit" ] || die "$newest came with the first commit: there is no previous release"
fi
binary=$MAPLE_CACHE/releases/$commit/mapleai
if [ ! -x "$binary" ]; then
    echo "Building the previous release, ${commit:0:12} (once)" >&2
    tree=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-previous.XXXXXX")
    trap 'rm -rf "$tree"' EXIT
    git archive "$commit" | tar -C "$tree" -xf -
    # In the checkout's target folder, whose dependencies are mostly the same ones. Under a version of its own: cargo knows a
    # package by that and not by its folder, and would take the checkout's build for this one, or the other way about.
    own=$(sed -n 's/^version = "\(.*\)"/\1/p' "$tree/Cargo.toml" | head -n 1)
    # The first is the program's, or the one that all packages of the workspace take.
    sed -i "0,/^version/s/^version = .*/version = \"$own-${commit:0:12}\"/" "$tree/Cargo.toml"
    sed -i "/^name = \"mapleai/,/^version/s/^version = .*/version = \"$own-${commit:0:12}\"/" "$tree/Cargo.lock"
    (cd "$tree" && cargo build --locked --bin mapleai >&2)
    rm -rf "$(dirname "$binary")"
    mkdir -p "$(dirname "$binary")"
    cp -R "$tree/config" "$(dirname "$binary")/config"
    cp "$CARGO_TARGET_DIR/debug/mapleai" "$binary.new"
    mv "$binary.new" "$binary"
fi
echo "$commit $binary"
