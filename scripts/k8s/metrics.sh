# shellcheck shell=bash
# Sourced (after test/suite.sh): what a running instance exports, for tests/monitoring.

# Starts an instance with a database, Redis and a journal, and has a person register, sign in and ask a model.
start_instance() {
    local answer
    start_services postgres redis
    make_services_dir
    answer=${services_dir:?}/body
    # shellcheck disable=SC2034 # start_server takes it
    server_environment=(REDIS_URL="$TEST_REDIS_URL" MAPLE__USAGE__JOURNAL_DIR="$services_dir/journal")
    start_server
    curl --silent --show-error --fail-with-body --max-time 30 --output "$answer" --header 'Content-Type: application/json' \
        --data '{"email":"ada@maple.example","password":"correct horse battery","name":"Ada","organization":"Metrics"}' \
        "$MAPLE_URL/api/auth/register" || die "registration was refused: $(cat "$answer")"
    SMOKE_EMAIL=ada@maple.example SMOKE_PASSWORD='correct horse battery' "${MAPLE_BINARY:-$CARGO_TARGET_DIR/debug/mapleai}" smoke "$MAPLE_URL"
}

# export_metrics FILE: what the instance says at /metrics, once it has counted its people, which it does after a while.
export_metrics() {
    local deadline=$((SECONDS + 90))
    until curl --silent --show-error --fail --max-time 10 --output "$1" "$MAPLE_URL/metrics" && grep -q '^maple_active_users{' "$1"; do
        ((SECONDS < deadline)) || die "the instance has not counted its people within 90 s; its metrics are not complete"
        sleep 1
    done
}
