# shellcheck shell=bash
# Sourced: use of the private PostgreSQL by several commands at once (`make run`, `make db`, ...). Each holds a shared
# lock while it runs; the last one out stops the server. A command that is killed loses its lock, so it never counts.

# The value that .env.local (which MapleAI reads in development) gives the first of these names, or nothing.
from_env_local() {
    local name
    [ -f "$MAPLE_ROOT/.env.local" ] || return 0
    for name in "$@"; do
        sed -nE "s/^(export +)?$name=[\"']?([^\"']*)[\"']?\$/\2/p" "$MAPLE_ROOT/.env.local" | head -n 1
    done | head -n 1
}

if [ -z "${DATABASE_URL:-}" ]; then
    DATABASE_URL=$(from_env_local DATABASE_URL)
    [ -z "$DATABASE_URL" ] || export DATABASE_URL
fi

lease_file=$MAPLE_ROOT/.local/postgres.lease
leased=

# Starts the server if need be and sets DATABASE_URL, unless that is set already.
lease_postgres() {
    [ -z "${DATABASE_URL:-}" ] || return 0
    mkdir -p "$(dirname "$lease_file")"
    exec 9>"$lease_file"
    flock -s -w 120 9 || die "another command has been stopping the private PostgreSQL for 2 minutes"
    leased=yes
    # Before the server: whoever is killed in between leaves none running.
    (
        [ -z "$(command -v setsid)" ] || exec setsid "$MAPLE_ROOT/scripts/dev/lease-guard.sh" "$lease_file"
        exec "$MAPLE_ROOT/scripts/dev/lease-guard.sh" "$lease_file"
    ) </dev/null >/dev/null 2>&1 7>&- 9>&- &
    "$MAPLE_ROOT/scripts/dev/postgres.sh" start 7>&- 9>&-
    DATABASE_URL=$("$MAPLE_ROOT/scripts/dev/postgres.sh" url)
    export DATABASE_URL
}

release_postgres() {
    [ -n "$leased" ] || return 0
    leased=
    if flock -n -x 9; then
        env -u DATABASE_URL "$MAPLE_ROOT/scripts/dev/postgres.sh" stop 9>&-
    fi
    exec 9>&-
}
