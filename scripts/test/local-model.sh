#!/usr/bin/env bash
# The crate of the small model: its tests without weights, then those with the real ones, which are fetched once and kept.
#
# Where the weights cannot be had, the latter are NOT CHECKED and the run says so; CI fails then, unless OFFLINE=1.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

# shellcheck source=scripts/test/weights.sh
source "$MAPLE_ROOT/scripts/test/weights.sh"

# As `serve` sets it: with as many threads as processors, each waits for one that something else is using.
export RAYON_NUM_THREADS=1

model_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        run_job cargo nextest run --locked -p local-model --no-fail-fast "$@"
    else
        run_job cargo test --locked -p local-model --no-fail-fast "${@:1:2}"
    fi
}

failed=
without_weights=(--lib)
for test in crates/local-model/tests/*/main.rs; do
    name=$(basename "$(dirname "$test")")
    [ "$name" = real_weights ] || without_weights+=(--test "$name")
done
model_tests "${without_weights[@]}" || failed=yes
# One at a time: they compute, and one measures memory.
if weights_at_hand; then
    LOCAL_MODEL_FILE=$weights_file model_tests --test real_weights --test-threads 1 || failed=yes
fi

# And as people meet it: MapleAI, its page and OpenAI's package, with the model's process beside it as `make run` has it.
if [ -n "$weights_file" ]; then
    "$MAPLE_ROOT/scripts/dev/install.sh" browser
    start_services postgres
    state=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-model.XXXXXX")/state.json
    on_exit() {
        rm -rf "$(dirname "$state")"
        remove_server "$1"
        stop_services
    }
    start_job "$CARGO_TARGET_DIR/debug/local-model" run --state "$state" --model "$weights_file"
    server_environment=(MAPLE__PROVIDERS__LOCAL__KIND=local "MAPLE__PROVIDERS__LOCAL__STATE_FILE=$state")
    start_server
    LOCAL_STATE=$state run_pytest tests/clients/test_real_model.py || failed=yes
fi
[ -z "$failed" ]
