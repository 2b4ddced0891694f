#!/usr/bin/env bash
# xtask.sh TASK ...: what make targets of delivery do (xtask/), built if need be; MAPLE_XTASK names one that is built. Not by `cargo run`, whose
# variables would reach what it starts.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

if [ -z "${MAPLE_XTASK:-}" ]; then
    "$MAPLE_ROOT/scripts/dev/cargo.sh" build --quiet --locked --package xtask >&2
    MAPLE_XTASK=$CARGO_TARGET_DIR/debug/xtask
fi
exec "$MAPLE_XTASK" "$@"
