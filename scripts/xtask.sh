#!/usr/bin/env bash
# xtask.sh TASK ...: what the make targets do (xtask/), built if need be; MAPLE_XTASK names one that is built. Not by `cargo run`, whose
# variables would reach what it starts; and in a folder of its own, so that no other build of the project has to be waited for.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# make that is killed takes this along, also while xtask is being built.
unset MAPLE_MAKE
[[ ! $(cat "/proc/$PPID/comm" 2>/dev/null) =~ ^g?make$ ]] || export MAPLE_MAKE=$PPID
if [ -z "${MAPLE_XTASK:-}" ]; then
    MAPLE_XTASK=$CARGO_TARGET_DIR/xtask/debug/xtask
    [ -x "$MAPLE_XTASK" ] || echo "Building xtask, which runs all else (once, half a minute on two cores)" >&2
    "$MAPLE_ROOT/scripts/dev/cargo.sh" build --quiet --locked --package xtask --target-dir "$CARGO_TARGET_DIR/xtask" </dev/null >&2
fi
exec "$MAPLE_XTASK" "$@"
