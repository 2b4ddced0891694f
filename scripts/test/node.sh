#!/usr/bin/env bash
# Prints the folder that holds node_modules for tests/clients/package-lock.json, made when absent, in the cache.
# Node itself comes with the Python packages: the SDK needs a newer one than distributions ship.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

manifest=$MAPLE_ROOT/tests/clients
venv=$("$here/python.sh")
modules=$MAPLE_CACHE/npm-$(cat "$manifest/package.json" "$manifest/package-lock.json" | sha256sum | cut -c1-16)

exec 8>"$MAPLE_CACHE/npm.lock"
flock 8
if [ ! -e "$modules/complete" ]; then
    echo "Installing the npm packages for the client tests (once): $modules" >&2
    rm -rf "$modules"
    mkdir -p "$modules"
    cp "$manifest/package.json" "$manifest/package-lock.json" "$modules/"
    (cd "$modules" && PATH=$venv/node/bin:$PATH \
        node "$venv/node/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund >&2)
    touch "$modules/complete"
fi
echo "$modules"
