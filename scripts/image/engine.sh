# shellcheck shell=bash
# Sourced (after jobs.sh): a Docker engine to build and run images with. One that runs is used; else, as root, one is started
# from Debian's packages, with its data in the cache and a socket of its own, and ended with the script.

# Sets `docker` (the client, an array) and DOCKER_HOST where it has to be another than usual.
find_engine() {
    local candidate
    docker=()
    for candidate in docker /usr/bin/docker; do
        if command -v "$candidate" >/dev/null && builds_with_buildkit "$candidate"; then
            docker=("$candidate")
            break
        fi
    done
    if [ ${#docker[@]} -eq 0 ]; then
        "$MAPLE_ROOT/scripts/dev/install.sh" docker
        docker=(/usr/bin/docker)
    fi
    export DOCKER_BUILDKIT=1
    "${docker[@]}" info >/dev/null 2>&1 || start_engine
}

# BuildKit comes with clients before 23 and, after that, with buildx.
builds_with_buildkit() {
    "$1" buildx version >/dev/null 2>&1 || [[ $("$1" --version) =~ version\ (1[89]|2[012])\. ]]
}

start_engine() {
    [ "$(id -u)" -eq 0 ] || die "no Docker engine answers; start one, or run this as root"
    "$MAPLE_ROOT/scripts/dev/install.sh" docker
    local place=$MAPLE_CACHE/docker tries=300
    engine_dir=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-docker.XXXXXX")
    mkdir -p "$place"
    # Containers share the machine's network: nothing of its configuration is touched.
    start_job dockerd --data-root "$place" --exec-root "$engine_dir/exec" --pidfile "$engine_dir/pid" \
        --host "unix://$engine_dir/docker.sock" --bridge none --iptables=false --log-level warn \
        >"$engine_dir/dockerd.log" 2>&1
    export DOCKER_HOST=unix://$engine_dir/docker.sock
    until "${docker[@]}" info >/dev/null 2>&1; do
        if ((tries-- == 0)) || ! job_is_running "${started_job:?}"; then
            tail -n 20 "$engine_dir/dockerd.log" >&2
            die "dockerd did not start"
        fi
        sleep 0.1
    done
}

# To be called on the way out. The engine itself has ended by then.
remove_engine() {
    [ -n "${engine_dir:-}" ] || return 0
    umount "$engine_dir"/exec/netns/* 2>/dev/null || true
    rm -rf "$engine_dir" || true
}

# have_base NAME: the image is here, or can be pulled.
have_base() {
    "${docker[@]}" image inspect "$1" >/dev/null 2>&1 || timeout 60 "${docker[@]}" pull --quiet "$1" 2>/dev/null
}

# Where no registry can be reached, the base image of the build is made here, under the name that the Dockerfile uses: Debian
# by debootstrap, with this machine's Rust and certificate authorities.
ensure_bases() {
    local base
    base=$(sed -n 's/^FROM \(rust:[^ ]*\).*/\1/p' "$MAPLE_ROOT/Dockerfile" | head -n 1)
    have_base "$base" && return
    echo "No registry has $base; making it with debootstrap"
    [ "$(id -u)" -eq 0 ] || die "making $base takes root"
    "$MAPLE_ROOT/scripts/dev/install.sh" debootstrap
    local root=${engine_dir:=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-docker.XXXXXX")}/base
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev bookworm "$root" >"$engine_dir/debootstrap.log" 2>&1 || {
        tail -n 20 "$engine_dir/debootstrap.log" >&2
        die "debootstrap failed"
    }
    mkdir -p "$root/usr/local/cargo/bin" "$root/usr/local/rustup"
    local sysroot
    sysroot=$(rustc --print sysroot)
    tar -C "$sysroot" --exclude=./share --exclude=./lib/rustlib/src --exclude='./lib/rustlib/*wasm*' -cf - . |
        tar -C "$root/usr/local/rustup" -xf -
    ln -s ../../rustup/bin/cargo ../../rustup/bin/rustc "$root/usr/local/cargo/bin/"
    cp --dereference "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root/var/cache/apt/archives" "$root/var/lib/apt/lists"
    tar -C "$root" -cf - . | "${docker[@]}" import \
        --change 'ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
        - "$base" >/dev/null
    rm -rf "$root"
}
