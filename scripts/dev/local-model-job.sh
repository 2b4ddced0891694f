#!/usr/bin/env bash
# local-model-job.sh STATE-FILE: builds the program that runs the small model, and becomes it. Started by local-model.sh as a job.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"

state=$1
log=$MAPLE_ROOT/.local/model-build.log

# fail REASON: a sentence for the terminal and for the page. It has no quotes, so that it is JSON as it is.
fail() {
    local beside=$state.$$
    (umask 077 && printf '{"state":"failed","reason":"%s"}\n' "${1//[\"\\]/}" >"$beside")
    mv -f "$beside" "$state"
    printf '%s.\n' "$1" >&2
    exit 1
}

mkdir -p "$MAPLE_CACHE"
if [ ! -x "$CARGO_TARGET_DIR/debug/local-model" ]; then
    echo "Building what runs the small model, once, in the background: a few minutes on two cores (log: $log)"
fi
# The person waits for MapleAI's own builds, not for this one.
nice -n 15 cargo build --locked --package local-model --bin local-model </dev/null >"$log" 2>&1 ||
    fail "The small model cannot run, since its program could not be built; MapleAI goes on without it. The log says why: $log"
exec nice -n 5 "$CARGO_TARGET_DIR/debug/local-model" run --state "$state"
