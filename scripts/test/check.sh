#!/usr/bin/env bash
# `make check`: what can be known within a minute of the packages that differ from BASE (origin/main, or HEAD where there is none): formatting,
# clippy and the unit tests of each. Packages that only use a changed one are compiled by clippy's own look at the program.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"

base=${BASE:-$(git rev-parse --quiet --verify origin/main || git rev-parse HEAD)}
changed=$({
    git diff --name-only "$base"
    git ls-files --others --exclude-standard
} | sort -u)

packages=()
for manifest in crates/*/Cargo.toml xtask/Cargo.toml; do
    folder=${manifest%/Cargo.toml}
    if grep -q "^$folder/" <<<"$changed"; then
        packages+=(--package "$(sed -n 's/^name = "\(.*\)"/\1/p;T;q' "$manifest")")
    fi
done
if grep -qE '^(src|tests/api|tests/cli\.rs|templates|assets|config|migrations|Cargo\.)' <<<"$changed"; then
    packages+=(--package mapleai)
fi

cargo fmt --all --check
if [ ${#packages[@]} -eq 0 ]; then
    echo "No Rust differs from $base: nothing else to check. \`make test\` runs everything."
    exit 0
fi
cargo clippy --locked --all-targets "${packages[@]}" -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --lib --bins --no-tests=pass "${packages[@]}"
else
    cargo test --locked --lib --bins "${packages[@]}"
fi
