#!/usr/bin/env bash
# base.sh DOCKER IMAGE: where no registry has it, the base image of the build is made here, under the name that the Dockerfile uses: Debian
# by debootstrap, with this machine's Rust and certificate authorities. DOCKER is the client.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"

docker=$1 base=$2
if "$docker" image inspect "$base" >/dev/null 2>&1 || timeout 60 "$docker" pull --quiet "$base" 2>/dev/null; then
    exit 0
fi
echo "No registry has $base; making it with debootstrap"
[ "$(id -u)" -eq 0 ] || die "making $base takes root"
"$MAPLE_ROOT/scripts/dev/install.sh" debootstrap
work=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-base.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    die "debootstrap failed"
}
mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup"
tar -C "$(rustc --print sysroot)" --exclude=./share --exclude=./lib/rustlib/src --exclude='./lib/rustlib/*wasm*' -cf - . |
    tar -C "$root/usr/local/rustup" -xf -
ln -s ../../rustup/bin/cargo ../../rustup/bin/rustc "$root/usr/local/cargo/bin/"
cp --dereference "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
tar -C "$root" -cf - . | "$docker" import \
    --change 'ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
    - "$base" >/dev/null
