#!/usr/bin/env bash
# `make dev`: `make run` with hot reload. Sources, templates, assets, configuration and migrations are watched; after a
# change MapleAI is built and started again. While a build fails, the last good server keeps running.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/jobs.sh
source "$here/../jobs.sh"
# shellcheck source=scripts/ports.sh
source "$here/../ports.sh"
# shellcheck source=scripts/ready.sh
source "$here/../ready.sh"
# shellcheck source=scripts/dev/lease.sh
source "$here/lease.sh"
# shellcheck source=scripts/dev/redis.sh
source "$here/redis.sh"
# shellcheck source=scripts/dev/serve.sh
source "$here/serve.sh"
# shellcheck source=scripts/dev/local-model.sh
source "$here/local-model.sh"
# shellcheck source=scripts/dev/rust-version.sh
source "$here/rust-version.sh"
end_with_make "$@"
cd "$MAPLE_ROOT"

# Polling sees every kind of change on every kind of file system and needs nothing installed; a few hundred files take
# milliseconds. Editors' swap and backup files are left out.
fingerprint() {
    local watched=() path
    for path in src crates templates assets config migrations .sqlx Cargo.toml Cargo.lock .env.local; do
        [ ! -e "$path" ] || watched+=("$path")
    done
    find "${watched[@]}" -type f ! -name '.*.sw?' ! -name '*~' ! -name '.#*' -printf '%p %T@ %s\n' 2>/dev/null |
        sort | sha256sum
}

on_exit() {
    forget_local_model
    release_postgres
}

server_is_up() {
    [ -n "$server_job" ] && job_is_running "$server_job"
}

# The exchange itself: stop, then start, since both want the same port.
restart() {
    if server_is_up; then
        stop_job "$server_job"
    fi
    serve
    start_local_model
}

end_jobs_on_exit
trap 'echo; echo "Stopping MapleAI ..."; exit 0' INT

ensure_rust
needs=(compiler)
[ -n "${DATABASE_URL:-}" ] || needs+=(postgres)
"$here/install.sh" "${needs[@]}"
lease_postgres
start_redis_if_any
announce_local_model
built=
while true; do
    seen=$(fingerprint)
    if [ "$seen" != "$built" ]; then
        built=$seen
        if build; then
            restart
        elif server_is_up; then
            echo "The build failed; the server before it keeps running. Waiting for the next change ..." >&2
        else
            echo "The build failed. Waiting for the next change ..." >&2
        fi
    fi
    sleep 0.5
done
