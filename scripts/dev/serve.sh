# shellcheck shell=bash
# Sourced by run.sh and dev.sh: the server itself, and what to tell the person who started it.

export MAPLE_ENV=${MAPLE_ENV:-development}
serve_port=${PORT:-${MAPLE__SERVER__PORT:-$(from_env_local PORT MAPLE__SERVER__PORT)}}
serve_port=${serve_port:-3000}
# Model servers that the person runs already: LOCAL_SERVERS=off leaves them alone. What .env.local says goes first.
if [ "$MAPLE_ENV" = development ] && [ -z "$(from_env_local MAPLE__LOCAL__SERVERS)" ]; then
    [ "${LOCAL_SERVERS:-}" = off ] || export MAPLE__LOCAL__SERVERS=${MAPLE__LOCAL__SERVERS-ollama,lm-studio,llama-cpp,vllm}
fi
server_job=

build() {
    run_job cargo build --locked --bin mapleai
}

# Starts the built binary as a job ($server_job) and says where it is once it is ready.
serve() {
    port_is_free "$serve_port" ||
        die "port $serve_port is in use by another program; end that, or choose a port: PORT=3001 make run"
    start_job "$CARGO_TARGET_DIR/debug/mapleai" serve
    server_job=${started_job:?}
    local status=0
    wait_until_ready "$serve_port" "$server_job" 90 || status=$?
    case $status in
        0) announce ;;
        1) echo "MapleAI has not become ready within 90 s; its log above says why. It is left running." >&2 ;;
    esac
}

announce() {
    local account='' models='maple-dev, maple-dev-embed' found=()
    [ "${MAPLE__PROVIDERS__LOCAL__KIND:-}" != local ] || models="smollm2-135m, $models"
    if [ "$MAPLE_ENV" = development ]; then
        account=$("$CARGO_TARGET_DIR/debug/mapleai" seed | grep '^demo@' || true)
        mapfile -t found < <("$CARGO_TARGET_DIR/debug/mapleai" local-servers || true)
    fi
    echo
    echo "  MapleAI is ready:  http://localhost:$serve_port"
    if [ "$MAPLE_ENV" = development ]; then
        echo "  Sign in with:      $account"
        echo "  API for programs:  http://localhost:$serve_port/v1 (make a key under \"API keys\"; models: $models)"
        ((${#found[@]} == 0)) || printf '  Also found:        %s\n' "${found[@]}"
    fi
    echo "  Stop with Ctrl-C"
    echo
}
