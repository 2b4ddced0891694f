#!/usr/bin/env bash
# `make profile`: finds out which code a gateway under load runs, for the compiler to lay it out by. Builds MapleAI with counters in it,
# puts it through every case of the bench, and writes profile/mapleai-<checksum>.profdata, which `make build`, `make bench` and
# `make image` use from then on. Belongs to one Cargo.lock, one compiler and one version: whatever changes them needs a new one.
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
scripts/bench.sh --duration 1 --rounds 1 --no-yardsticks --fill-cache 20000
LLVM_PROFILE_FILE="$counts/signature/%m" "$CARGO_TARGET_DIR/release/mapleai-as-shipped" --version >/dev/null
signature=$(basename "$counts/signature"/*)
[ -s "$counts/$signature.profraw" ] || die "the bench left no counts"
"$tool" merge --sparse --output "$counts/merged" "$counts/$signature.profraw"
rm -f profile/mapleai-*.profdata
mkdir -p profile
sum=$(sha256sum "$counts/merged")
mv "$counts/merged" "profile/mapleai-${sum:0:12}.profdata"
printf 'Wrote %s\n' profile/mapleai-*.profdata
