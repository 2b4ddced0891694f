#!/usr/bin/env bash
# `make sbom SBOM=FILE`: the bill of materials of the binary, as CycloneDX 1.5 in JSON. What only builds it is not in it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

[ $# -eq 1 ] && [ -n "$1" ] || die "usage: sbom.sh FILE (make sbom SBOM=out/sbom.cdx.json)"
version=0.5.9
tool=$MAPLE_CACHE/tools/cargo-cyclonedx-$version/bin/cargo-cyclonedx
mkdir -p "$MAPLE_CACHE/tools" "$(dirname "$1")"
exec 8>"$MAPLE_CACHE/tools/lock"
flock 8
if [ ! -x "$tool" ]; then
    echo "Building cargo-cyclonedx $version (once)"
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_TARGET_DIR=$MAPLE_CACHE/tools/build \
        cargo install --quiet --locked --root "$MAPLE_CACHE/tools/cargo-cyclonedx-$version" --version "$version" cargo-cyclonedx
    rm -rf "$MAPLE_CACHE/tools/build"
fi
exec 8>&-

# It writes beside the manifest: into a copy, with empty programs in the places of the real ones.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/src"
cp --parents Cargo.toml Cargo.lock crates/*/Cargo.toml "$work/"
for crate in crates/*/; do
    mkdir -p "$work/$crate/src"
    touch "$work/$crate/src/lib.rs"
done
echo 'fn main() {}' | tee "$work/src/main.rs" "$work"/crates/{bench,local-model,reference-proxy}/src/main.rs >/dev/null
touch "$work/src/lib.rs"
"$tool" cyclonedx --manifest-path "$work/Cargo.toml" --format json --spec-version 1.5 --all --no-build-deps \
    --target x86_64-unknown-linux-gnu --override-filename sbom.cdx
components=$(grep -c '"purl": "pkg:cargo/' "$work/sbom.cdx.json" || true)
[ "$components" -gt 100 ] || die "the bill of materials names only $components crates"
# Where the copy was is nobody's business.
sed "s#$work#.#g" "$work/sbom.cdx.json" >"$1"
echo "$1: $components crates"
