# shellcheck shell=bash
# Sourced (after jobs.sh): throw-away PostgreSQL and Redis servers for tests, on free ports, in a temporary folder.
#
# Sets TEST_DATABASE_URL (a role that may create databases) and TEST_REDIS_URL, unless they are set already. DATABASE_URL
# is never touched by tests: it may name a database that matters.

# shellcheck source=scripts/ports.sh
source "$MAPLE_ROOT/scripts/ports.sh"
# shellcheck source=scripts/dev/postgres-binaries.sh
source "$MAPLE_ROOT/scripts/dev/postgres-binaries.sh"

services_dir=

# start_services [postgres] [redis]
start_services() {
    local service
    for service in "$@"; do
        case $service in
            postgres) [ -n "${TEST_DATABASE_URL:-}" ] || start_test_postgres ;;
            redis) [ -n "${TEST_REDIS_URL:-}" ] || start_test_redis ;;
        esac
    done
}

# To be called on the way out. The jobs (Redis) have ended by then.
stop_services() {
    [ -n "$services_dir" ] || return 0
    test_postgres destroy
    rm -rf "$services_dir"
}

make_services_dir() {
    [ -z "$services_dir" ] || return 0
    services_dir=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-test.XXXXXX")
    # PostgreSQL runs as another user when this is root, and needs the way to its own (closed) folder.
    chmod 711 "$services_dir"
}

test_postgres() {
    env -u DATABASE_URL MAPLE_PG_DIR="$services_dir/postgres" MAPLE_PG_PROFILE=test \
        MAPLE_PG_PORT="${test_postgres_port:-}" "$MAPLE_ROOT/scripts/dev/postgres.sh" "$@"
}

start_test_postgres() {
    "$MAPLE_ROOT/scripts/dev/install.sh" postgres
    make_services_dir
    test_postgres_port=$(random_free_port)
    test_postgres start
    TEST_DATABASE_URL=$(test_postgres url)
    export TEST_DATABASE_URL
}

start_test_redis() {
    "$MAPLE_ROOT/scripts/dev/install.sh" redis
    make_services_dir
    local port password tries=100
    port=$(random_free_port)
    password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    mkdir -m 0700 "$services_dir/redis"
    printf '%s\n' "port $port" 'bind 127.0.0.1' "requirepass $password" 'save ""' 'appendonly no' \
        "dir $services_dir/redis" "logfile $services_dir/redis/log" >"$services_dir/redis/redis.conf"
    start_job redis-server "$services_dir/redis/redis.conf"
    while port_is_free "$port"; do
        if ((tries-- == 0)) || ! job_is_running "${started_job:?}"; then
            cat "$services_dir/redis/log" >&2
            die "redis-server did not start"
        fi
        sleep 0.1
    done
    export TEST_REDIS_URL=redis://:$password@127.0.0.1:$port
}

# TEST_DATABASE_URL with another database's name.
test_database_url() {
    sed -E "s#^([^?]*/)[^/?]*(\\?.*)?\$#\\1$1\\2#" <<<"$TEST_DATABASE_URL"
}

# test_psql DATABASE [ARGUMENTS]
test_psql() {
    local name=$1 bin program=psql
    shift
    if bin=$(find_postgres); then
        program=$bin/psql
    fi
    "$program" -X -v ON_ERROR_STOP=1 -d "$(test_database_url "$name")" "$@"
}
