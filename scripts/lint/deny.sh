#!/usr/bin/env bash
# deny.sh [advisories]: licences, bans and sources of the dependency tree (deny.toml); or known vulnerabilities, for which RustSec's
# database is fetched. One that cannot be fetched is a failure: nothing was checked. ADVISORY_DB names a git address to take instead,
# such as a mirror's, and ADVISORY_DB_FOLDER where it is kept.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

version=0.20.2
tool=$MAPLE_CACHE/tools/cargo-deny-$version/bin/cargo-deny
mkdir -p "$MAPLE_CACHE/tools"
exec 8>"$MAPLE_CACHE/tools/lock"
flock 8
if [ ! -x "$tool" ]; then
    if [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny $version" ]; then
        tool=$(command -v cargo-deny)
    else
        # It runs for a second: an optimised build would cost minutes and save none of them.
        echo "Building cargo-deny $version (once, about 90 s on 2 cores)"
        CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_TARGET_DIR=$MAPLE_CACHE/tools/build \
            cargo install --quiet --locked --root "$MAPLE_CACHE/tools/cargo-deny-$version" --version "$version" cargo-deny
        rm -rf "$MAPLE_CACHE/tools/build"
    fi
fi
exec 8>&-
if [ "${1:-}" != advisories ]; then
    exec "$tool" check bans licenses sources
fi
config=deny.toml
if [ -n "${ADVISORY_DB:-}" ]; then
    config=$(mktemp)
    trap 'rm -f "$config"' EXIT
    # In a folder of its own: what was fetched from elsewhere is not what this asks for.
    sed -e "s#^db-urls = .*#db-urls = [\"$ADVISORY_DB\"]#" \
        -e "s#^db-path = .*#db-path = \"${ADVISORY_DB_FOLDER:-$MAPLE_CACHE/advisories-of-choice}\"#" deny.toml >"$config"
fi
"$tool" --manifest-path "$MAPLE_ROOT/Cargo.toml" --config "$config" check advisories
