# shellcheck shell=bash
# Sourced by run.sh and dev.sh (after jobs.sh and ports.sh): a private Redis for caches, where one is installed and nobody has
# named another. It keeps nothing: what it holds can be loaded again.

start_redis_if_any() {
    [ -z "${REDIS_URL:-}${MAPLE__REDIS__URL:-}$(from_env_local REDIS_URL MAPLE__REDIS__URL)" ] || return 0
    command -v redis-server >/dev/null || return 0
    local port tries=50
    port=$(random_free_port)
    start_job redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no --maxmemory 64mb \
        --maxmemory-policy allkeys-lru --loglevel warning
    while port_is_free "$port"; do
        if ((tries-- == 0)); then
            echo "redis-server did not start; going on without." >&2
            return 0
        fi
        sleep 0.1
    done
    export REDIS_URL=redis://127.0.0.1:$port
}
