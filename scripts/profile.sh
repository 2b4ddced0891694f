#!/usr/bin/env bash
# `make profile`: finds out which code a gateway under load runs, for the compiler to lay it out by. Builds MapleAI with counters in it,
# puts it through every case of the bench, and writes profile/mapleai-<checksum>.profdata, which `make build`, `make bench` and
# `make image` use from then on; and one of the reference proxy, so that the bench compares equals. Belongs to one Cargo.lock, one compiler
# and one version: whatever changes them needs a new one.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$MAPLE_ROOT"

scripts/dev/install.sh compiler postgres redis
tool="$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/llvm-profdata"
if [ ! -x "$tool" ]; then
    rustup component add llvm-tools
    [ -x "$tool" ] || die "llvm-profdata is missing: rustup component add llvm-tools"
fi

counts=$(mktemp -d)
trap 'rm -rf "$counts"' EXIT
# Build scripts and macros count too: each program's counts are told by the signature in their name. The bench itself does not.
export BENCH_TARGET_DIR="$CARGO_TARGET_DIR/bench-program"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/counting" RUSTFLAGS=-Cprofile-generate LLVM_PROFILE_FILE="$counts/%m.profraw"
scripts/bench.sh --duration 1 --rounds 1 --fill-cache 20000
rm -f profile/*.profdata
mkdir -p profile
for program in "$CARGO_TARGET_DIR/release/mapleai" "$CARGO_TARGET_DIR/reference/release/reference-proxy"; do
    rm -rf "$counts/signature"
    LLVM_PROFILE_FILE="$counts/signature/%m" "$program" --version >/dev/null
    signature=$(basename "$counts/signature"/*)
    [ -s "$counts/$signature.profraw" ] || die "the bench left no counts of $program"
    "$tool" merge --sparse --output "$counts/merged" "$counts/$signature.profraw"
    name=$(basename "$program")
    sum=$(sha256sum "$counts/merged")
    mv "$counts/merged" "profile/$name-${sum:0:12}.profdata"
done
printf 'Wrote %s\n' profile/*.profdata
