# shellcheck shell=bash
# Sourced by postgres.sh: which user the private server runs as, and where its files can be. PostgreSQL refuses to run
# as root, so root hands it to another user, and that user must be able to reach the files.
#
# Takes $requested (a folder); sets $server_user, $state and $pointer.

choose_user() {
    server_user=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then
        # Debian's package makes this user; without it, one of our own that owns nothing else.
        server_user=postgres
        if ! id "$server_user" >/dev/null 2>&1; then
            server_user=mapleai-dev
            id "$server_user" >/dev/null 2>&1 ||
                useradd --system --no-create-home --shell /usr/sbin/nologin "$server_user"
        fi
    fi
}

# Runs a command as the server's user. Descriptors 8 and 9 are locks: a server that inherited them would hold them.
as_server() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && exec runuser -u "$server_user" -- "$@" 8>&- 9>&-)
    else
        (cd / && exec "$@" 8>&- 9>&-)
    fi
}

# A checkout under /root or in a private temporary folder is closed to the server's user. Then the files live under
# /var/lib, and a file beside the requested folder says where.
choose_place() {
    pointer=${requested:?}.location
    state=$requested
    mkdir -p "$(dirname "$requested")"
    [ "$(id -u)" -eq 0 ] || return 0
    if [ -f "$pointer" ]; then
        state=$(<"$pointer")
    elif ! as_server test -x "$(dirname "$requested")"; then
        state=/var/lib/mapleai-dev/$(printf %s "$requested" | sha256sum | cut -c1-16)
        echo "$state" >"$pointer"
    fi
}

make_place() {
    mkdir -p "$(dirname "$state")"
    [ -d "$state" ] || mkdir -m 0700 "$state"
    if [ "$(id -u)" -eq 0 ]; then
        chown "$server_user" "$state"
    fi
}
