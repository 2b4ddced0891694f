# shellcheck shell=bash
# Sourced (after test/suite.sh): what a running instance exports, for tests/monitoring.

# Starts an instance with a database, Redis and a journal, and has a person register, sign in and ask a model.
start_instance() {
    local body token
    start_services postgres redis
    make_services_dir
    body=${services_dir:?}/body
    # shellcheck disable=SC2034 # start_server takes it
    server_environment=(REDIS_URL="$TEST_REDIS_URL" MAPLE__USAGE__JOURNAL_DIR="$services_dir/journal")
    start_server
    ask_server "$body" /api/auth/register \
        '{"email":"ada@maple.example","password":"correct horse battery","name":"Ada","organization":"Metrics"}'
    ask_server "$body" /api/auth/login '{"email":"ada@maple.example","password":"correct horse battery"}'
    token=$(sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p' "$body")
    ask_server "$body" /v1/chat/completions '{"model":"maple-dev","messages":[{"role":"user","content":"Hello"}]}' "$token"
    ask_server "$body" /v1/chat/completions \
        '{"model":"maple-dev","messages":[{"role":"user","content":"Hello again"}],"stream":true}' "$token"
}

# ask_server ANSWER PATH BODY [TOKEN]
ask_server() {
    curl --silent --show-error --fail-with-body --max-time 30 --output "$1" --header 'Content-Type: application/json' \
        ${4:+--header "Authorization: Bearer $4"} --data "$3" "$MAPLE_URL$2" || die "$2 was refused: $(cat "$1")"
}

# export_metrics FILE: what the instance says at /metrics, once it has counted its people, which it does after a while.
export_metrics() {
    local deadline=$((SECONDS + 90))
    until curl --silent --show-error --fail --max-time 10 --output "$1" "$MAPLE_URL/metrics" && grep -q '^maple_active_users{' "$1"; do
        ((SECONDS < deadline)) || die "the instance has not counted its people within 90 s; its metrics are not complete"
        sleep 1
    done
}
