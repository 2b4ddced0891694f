# shellcheck shell=bash
# Sourced (after jobs.sh and services.sh): a really started MapleAI for client tests, with a database and port of its own.

# shellcheck source=scripts/ready.sh
source "$MAPLE_ROOT/scripts/ready.sh"

server_dir=
# NAME=VALUE pairs for the server, beyond what every suite's server gets.
server_environment=()

# Builds the server, unless MAPLE_BINARY names one, starts it and sets MAPLE_URL.
start_server() {
    local binary=${MAPLE_BINARY:-$CARGO_TARGET_DIR/debug/mapleai}
    [ -n "${MAPLE_BINARY:-}" ] || run_job cargo build --locked --bin mapleai
    server_dir=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-server.XXXXXX")
    local port database=mapleai_client_$$_$RANDOM status=0
    port=$(random_free_port)
    test_psql postgres -qc "CREATE DATABASE $database"
    # A folder without .env.local, and no provider but the mock: tests neither use nor pay for a person's own keys.
    start_job env -C "$server_dir" -u OPENAI_API_KEY -u OPENAI_BASE_URL -u REDIS_URL \
        DATABASE_URL="$(test_database_url "$database")" MAPLE_ENV=development MAPLE_CONFIG_DIR="$MAPLE_ROOT/config" \
        PORT="$port" "${server_environment[@]}" \
        "$binary" serve >"$server_dir/log" 2>&1
    wait_until_ready "$port" "${started_job:?}" 60 || status=$?
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$server_dir/log" >&2
        die "MapleAI did not become ready for the tests"
    fi
    export MAPLE_URL=http://localhost:$port
    # For what a test looks at, or does, behind the server's back.
    SERVER_LOG=$server_dir/log SERVER_DATABASE_URL=$(test_database_url "$database")
    SERVER_PSQL=$(find_postgres)/psql || SERVER_PSQL=psql
    export SERVER_LOG SERVER_DATABASE_URL SERVER_PSQL
}

# To be called on the way out with the script's status: a failed suite shows what the server had to say.
remove_server() {
    [ -n "$server_dir" ] || return 0
    if [ "$1" -ne 0 ] && [ -s "$server_dir/log" ]; then
        printf '\n--- the server'\''s log: warnings and errors, and the last lines\n'
        grep -E ' (WARN|ERROR) ' "$server_dir/log" | head -n 30 || true
        echo ...
        tail -n 15 "$server_dir/log"
    fi
    rm -rf "$server_dir"
}

# A model server that does what a question tells it to; its port is in $upstream_port.
start_page_upstream() {
    local tries=100
    upstream_port=$(random_free_port)
    start_job python3 "$MAPLE_ROOT/tests/clients/page_upstream.py" "$upstream_port"
    while port_is_free "$upstream_port"; do
        ((tries-- > 0)) || die "the model server of the tests did not start"
        sleep 0.1
    done
}
