#!/usr/bin/env bash
# `make fuzz`: each reader of what others write, for SECONDS_EACH (60): requests, events, answers, cookies, headers, the journal, and models' Markdown.
#
# All but the last are the property tests of those readers, over and over with fresh seeds; a case that fails is printed as small as
# it can be, and the run ends with 1. The last is a program of its own (fuzz/README.md).
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"

seconds=${SECONDS_EACH:-60}
cases=${PROPTEST_CASES:-20000}
# Reader -> the package, and which of its tests are the reader's properties.
readers=(
    'requests mapleai-llm inbound::'
    'events mapleai-llm sse::'
    'answers mapleai-llm outbound::'
    'canonical mapleai-llm canonical::'
    'secrets mapleai-provider redact::'
    'journal mapleai-gateway journal::'
    'cookies mapleai auth::authenticator'
    'headers mapleai http::edge'
)

# tests_of PACKAGE: the program of its library's tests.
tests_of() {
    cargo test --locked --package "$1" --lib --no-run --message-format json 2>/dev/null |
        sed -nE 's/.*"executable":"([^"]+)".*/\1/p' | tail -n 1
}

passed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for reader in "${readers[@]}"; do
    read -r name package filter <<<"$reader"
    binary=$(tests_of "$package")
    [ -x "$binary" ] || die "the tests of $package were not built: cargo test --package $package --lib --no-run says why"
    runs=0
    until=$((SECONDS + seconds))
    while ((SECONDS < until)); do
        PROPTEST_CASES=$cases PROPTEST_FAILURE_PERSISTENCE=off "$binary" --quiet "$filter" >"$log" 2>&1 || {
            cat "$log"
            die "a finding in the reader of $name"
        }
        # A reader that has moved must not pass for one that was tried.
        grep -qE 'ok\. [1-9][0-9]* passed' "$log" || die "no test of $package is named $filter"
        runs=$((runs + 1))
    done
    echo "$name: $seconds s, $runs times $cases cases of each property, no finding"
    passed=$((passed + 1))
done
cargo run --quiet --locked --release --manifest-path fuzz/Cargo.toml --bin markdown -- --seconds "$seconds"
printf '\n%d passed, 0 failed\n' $((passed + 1))
