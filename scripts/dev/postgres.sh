#!/usr/bin/env bash
# The private PostgreSQL of this checkout: postgres.sh start|stop|status|url|psql [ARGUMENTS]|destroy
#
# Its data stays between runs; it listens on loopback and on a socket in its own folder, and asks for a password that
# only the owner of the checkout can read. With DATABASE_URL set, `start` starts nothing and `url` and `psql` use that.
#
#   MAPLE_PG_DIR      its folder (.local/postgres)
#   MAPLE_PG_PORT     its port, if free (54329); else the next free one, which is remembered
#   MAPLE_PG_PROFILE  dev, or test: fast and forgetful, for servers that are thrown away
# shellcheck disable=SC2016 # what stands in single quotes is for the server user's shell
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/ports.sh
source "$here/../ports.sh"
# shellcheck source=scripts/dev/postgres-binaries.sh
source "$here/postgres-binaries.sh"
# shellcheck source=scripts/dev/postgres-place.sh
source "$here/postgres-place.sh"

# The server outlives whoever starts it, and so must not hold what tells of the end of that.
exec 7>&-

requested=${MAPLE_PG_DIR:-$MAPLE_ROOT/.local/postgres}
profile=${MAPLE_PG_PROFILE:-dev}
superuser=maple
database=mapleai

# The process id of this folder's running server. The id in postmaster.pid may by now be some other program's.
server_pid() {
    local pid
    pid=$(as_server head -n 1 "$state/data/postmaster.pid" 2>/dev/null) || return 1
    [ "$(as_server readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$state/data")" ] && echo "$pid"
}

choose_binaries() {
    local major=
    [ ! -f "$state/data/PG_VERSION" ] || major=$(<"$state/data/PG_VERSION")
    if ! bin=$(find_postgres "$major"); then
        [ -z "$major" ] || [ -z "$(find_postgres)" ] ||
            die "$state was made by PostgreSQL $major, which is not installed now: install postgresql-$major," \
                "or drop the data with '$0 destroy'"
        "$here/install.sh" postgres
        bin=$(find_postgres) || die "no PostgreSQL server (version 14 or newer) found after installing it"
    fi
}

create() {
    echo "Creating a private PostgreSQL in $state"
    as_server rm -rf "$state/data.new"
    as_server sh -c 'umask 077; od -An -N24 -tx1 /dev/urandom | tr -d " \n" >"$1/password"' sh "$state"
    local options=(--username="$superuser" --pwfile="$state/password" --encoding=UTF8 --locale=C.UTF-8)
    if [ "$profile" = test ]; then
        # Tests open thousands of connections from an unoptimised client, for which SCRAM is slow on purpose.
        options+=(--auth=md5 --no-sync)
    else
        options+=(--auth=scram-sha-256)
    fi
    as_server "$bin/initdb" -D "$state/data.new" "${options[@]}" >"$requested.initdb.log" 2>&1 || {
        cat "$requested.initdb.log" >&2
        die "initdb failed"
    }
    rm -f "$requested.initdb.log"
    as_server sh -c 'echo "include_if_exists = '\''mapleai.conf'\''" >>"$1"' sh "$state/data.new/postgresql.conf"
    # Renamed last, so that an interrupted creation is never taken for a database.
    as_server mv "$state/data.new" "$state/data"
}

configure() {
    local socket=$state/socket
    as_server mkdir -p -m 0700 "$socket"
    # The kernel allows 107 bytes for a socket's path; TCP alone does as well.
    ((${#socket} <= 85)) || socket=
    {
        echo "port = $1"
        echo "listen_addresses = '127.0.0.1'"
        echo "unix_socket_directories = '$socket'"
        echo "unix_socket_permissions = 0700"
        if [ "$profile" = test ]; then
            printf '%s\n' 'max_connections = 400' 'fsync = off' 'synchronous_commit = off' 'full_page_writes = off' \
                'shared_buffers = 256MB' 'max_wal_size = 4GB' 'checkpoint_timeout = 30min'
        fi
    } | as_server tee "$state/data/mapleai.conf" >/dev/null
}

# After a kill -9 the lock files stay behind. PostgreSQL clears them unless their process id still exists: as another
# program by now, or as a zombie in a container whose first process reaps none. The last backends may also need a moment
# to notice that their server is gone.
clear_leftovers() {
    local waits=100 pid
    pid=$(as_server head -n 1 "$state/data/postmaster.pid" 2>/dev/null) || return 0
    while backend_is_left && ((waits-- > 0)); do
        sleep 0.1
    done
    if [ -d "/proc/$pid" ] && ! backend_is_left; then
        as_server rm -rf "$state/data/postmaster.pid" "$state/socket"
    fi
}

backend_is_left() {
    as_server sh -c 'for cwd in /proc/[0-9]*/cwd; do [ "$(readlink "$cwd" 2>/dev/null)" != "$1" ] || exit 0; done; exit 1' \
        sh "$(readlink -f "$state/data")"
}

start() {
    make_place
    exec 8>"$requested.lock"
    flock -w 120 8 || die "another start or stop of $state has taken 2 minutes"
    if server_pid >/dev/null; then
        return
    fi
    choose_binaries
    [ -d "$state/data" ] || create
    clear_leftovers
    local port attempt
    port=$(cat "$state/port" 2>/dev/null || echo "${MAPLE_PG_PORT:-54329}")
    for attempt in 1 2 3; do
        port=$(next_free_port "$port")
        configure "$port"
        as_server sh -c ': >"$1"' sh "$state/log"
        if as_server "$bin/pg_ctl" -D "$state/data" -l "$state/log" -w -t 60 start >/dev/null; then
            echo "$port" | as_server tee "$state/port" >/dev/null
            ensure_database
            return
        fi
        # Someone may have taken the port in between; anything else fails again, with its log shown below.
        echo "PostgreSQL did not start (attempt $attempt); trying again" >&2
        sleep 1
    done
    tail -n 20 "$state/log" >&2
    die "PostgreSQL did not start; its log is $state/log"
}

ensure_database() {
    local exists
    exists=$(run_psql -d postgres -Atc "SELECT 1 FROM pg_database WHERE datname = '$database'")
    [ "$exists" = 1 ] || run_psql -d postgres -qc "CREATE DATABASE $database"
    # The mark of development's own databases: without it MapleAI touches none that has tables. This server is for nothing else.
    [ "$profile" != dev ] || run_psql -qc "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS mapleai_development (demo_password text)"
}

stop() {
    exec 8>"$requested.lock"
    flock -w 120 8 || die "another start or stop of $state has taken 2 minutes"
    if ! server_pid >/dev/null; then
        return
    fi
    choose_binaries
    as_server "$bin/pg_ctl" -D "$state/data" -m fast -w -t 30 stop >/dev/null ||
        as_server "$bin/pg_ctl" -D "$state/data" -m immediate -w -t 30 stop >/dev/null
}

status() {
    local pid
    if ! pid=$(server_pid); then
        echo "not running (its files: $state)"
        return 3
    fi
    echo "running: process $pid, port $(<"$state/port"), files in $state"
}

url() {
    [ -f "$state/port" ] || die "the private PostgreSQL has never been started: $0 start"
    echo "postgres://$superuser:$(<"$state/password")@127.0.0.1:$(<"$state/port")/$database"
}

# The password goes through the environment: arguments are visible to everyone on the machine.
run_psql() {
    [ -f "$state/port" ] || die "the private PostgreSQL has never been started: $0 start"
    [ -n "${bin:-}" ] || choose_binaries
    PGPASSWORD=$(<"$state/password") PGHOST=127.0.0.1 PGPORT=$(<"$state/port") PGUSER=$superuser \
        PGDATABASE=$database "$bin/psql" -v ON_ERROR_STOP=1 "$@" 8>&-
}

destroy() {
    stop
    rm -rf "$state" "$pointer" "$requested.lock"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    start | url | psql)
        if [ -n "${DATABASE_URL:-}" ]; then
            case $command in
                start) echo "DATABASE_URL is set and used; no private PostgreSQL is started" ;;
                url) echo "$DATABASE_URL" ;;
                psql) exec psql "$DATABASE_URL" "$@" ;;
            esac
            exit
        fi
        ;;
    stop | status | destroy) ;;
    *) die "usage: $0 start|stop|status|url|psql [ARGUMENTS]|destroy" ;;
esac
choose_user
choose_place
if [ -d "$state" ] && [ ! -w "$state" ]; then
    die "$state belongs to $(stat -c %U "$state"): run this as that user, or remove the folder"
fi
case $command in
    psql) run_psql "$@" ;;
    *) "$command" ;;
esac
