# shellcheck shell=bash
# Sourced by suites that ask the real model: its file, or why it is not there.

weights_file=

# Fetches the weights, once for all checkouts of this account, and names them in $weights_file. Where they cannot be had: says NOT
# CHECKED with the reason and returns 1; in CI it ends the suite, unless OFFLINE=1.
weights_at_hand() {
    local log
    log=$(mktemp)
    run_job cargo build --locked -p local-model
    if weights_file=$(timeout 900 "$CARGO_TARGET_DIR/debug/local-model" fetch 2>"$log"); then
        rm -f "$log"
        export weights_file
        return 0
    fi
    printf 'NOT CHECKED: answers of the real model, since its weights cannot be had: %s\n' "$(tail -n 1 "$log")"
    rm -f "$log"
    if [ -n "${CI:-}" ] && [ "${OFFLINE:-}" != 1 ]; then
        die "CI checks the real model; OFFLINE=1 goes on without"
    fi
    return 1
}
