# shellcheck shell=bash
# Sourced by scripts: where things are, and the settings that all builds share.

MAPLE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# Outside the checkout, so that a fresh clone starts with a warm cache and `git clean` costs nothing.
MAPLE_CACHE=${MAPLE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mapleai}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$MAPLE_CACHE/target}
# Queries are checked against the committed .sqlx, so that building needs no database; `make sqlx-prepare` refreshes it.
SQLX_OFFLINE=true
# rustup's own place is not on the PATH of every shell (cron, CI, sudo).
command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin
# cargo draws its progress with escape sequences also where it leaves out colours.
if [ -n "${NO_COLOR:-}" ] || [ "${TERM:-dumb}" = dumb ]; then
    export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never
fi
export HOME MAPLE_ROOT MAPLE_CACHE CARGO_TARGET_DIR SQLX_OFFLINE PATH

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}
