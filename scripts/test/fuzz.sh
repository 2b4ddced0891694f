#!/usr/bin/env bash
# `make fuzz`: the readers of what strangers send, each for SECONDS (900): requests, cookies, headers, and models' Markdown.
#
# The first three are the property tests of those readers, over and over with fresh seeds; a case that fails is printed as small as
# it can be, and the run ends with 1. The last is a program of its own (fuzz/README.md).
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"

seconds=${SECONDS_EACH:-900}
# Reader -> the package, and which of its tests are the reader's properties.
readers=(
    'requests mapleai-gateway completions::request'
    'cookies mapleai auth::gate'
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
        PROPTEST_CASES=20000 PROPTEST_FAILURE_PERSISTENCE=off "$binary" --quiet "$filter" >"$log" 2>&1 || {
            cat "$log"
            die "a finding in the reader of $name"
        }
        runs=$((runs + 1))
    done
    echo "$name: $seconds s, $runs times 20,000 cases of each property, no finding"
    passed=$((passed + 1))
done
cargo run --quiet --locked --release --manifest-path fuzz/Cargo.toml --bin markdown -- --seconds "$seconds"
printf '\n%d passed, 0 failed\n' $((passed + 1))
