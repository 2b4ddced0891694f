#!/usr/bin/env bash
# Prints the path of a PgBouncer that knows prepared statements in transaction mode (1.21 or newer): the one that is installed or
# that apt offers, else one that is built from Debian trixie's signed source package, once, and kept under MAPLE_CACHE.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"

oldest=1.21
suite=trixie
place=$MAPLE_CACHE/pgbouncer
log=$place/build.log

is_new_enough() {
    [ -n "$1" ] && [ "$(printf '%s\n' "$oldest" "$1" | sort -V | head -n 1)" = "$oldest" ]
}

version_of() {
    "$1" --version 2>/dev/null | sed -nE '1s/^PgBouncer ([0-9.]+).*/\1/p'
}

for program in "${MAPLE_PGBOUNCER:-}" "$place/bin/pgbouncer" "$(command -v pgbouncer || true)" /usr/sbin/pgbouncer; do
    if [ -n "$program" ] && [ -x "$program" ] && is_new_enough "$(version_of "$program")"; then
        echo "$program"
        exit 0
    fi
done

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
    die "PgBouncer $oldest or newer is missing, and there is no apt with the right to install it"
fi

mkdir -p "$place"
exec 9>"$place/lock"
flock 9
if [ -x "$place/bin/pgbouncer" ]; then
    echo "$place/bin/pgbouncer"
    exit 0
fi

install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@"
}

echo "Getting PgBouncer (log: $log)" >&2
(
    "${as_root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -q || echo "apt-get update failed; going on with the lists at hand"
    offered=$(apt-cache policy pgbouncer | sed -nE 's/^ *Candidate: ([0-9.]+).*/\1/p')
    if is_new_enough "$offered"; then
        # The binary alone: its service is not wanted here.
        cd "$place"
        apt-get download -q pgbouncer
        dpkg-deb -x pgbouncer_*.deb unpacked
        install libevent-2.1-7t64 libc-ares2 || install libevent-2.1-7 libc-ares2
        mkdir -p bin
        cp unpacked/usr/sbin/pgbouncer bin/
        exit 0
    fi
    install gcc make libc6-dev pkg-config libevent-dev libssl-dev debian-archive-keyring dpkg-dev
    # An apt root of its own: the machine's lists and packages stay as they are.
    apt=$place/apt
    mkdir -p "$apt"/{lists/partial,cache/archives/partial,etc}
    touch "$apt/status"
    cat >"$apt/etc/source.sources" <<END
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
    cat >"$apt/apt.conf" <<END
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/etc";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::State::status "$apt/status";
APT::Sandbox::User "$(id -un)";
END
    export APT_CONFIG=$apt/apt.conf
    apt-get update -q
    cd "$place"
    rm -rf pgbouncer-*
    apt-get source -q pgbouncer
    cd pgbouncer-*/
    ./configure --without-cares --prefix="$place" --disable-debug
    make -j2 pgbouncer
    mkdir -p "$place/bin"
    cp pgbouncer "$place/bin/pgbouncer.new"
    mv "$place/bin/pgbouncer.new" "$place/bin/pgbouncer"
    cd "$place"
    rm -rf pgbouncer-* pgbouncer_*
) </dev/null >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "PgBouncer could not be made"
}
is_new_enough "$(version_of "$place/bin/pgbouncer")" || die "the PgBouncer that was made does not run: see $log"
echo "$place/bin/pgbouncer"
