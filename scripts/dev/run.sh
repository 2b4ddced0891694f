#!/usr/bin/env bash
# `make run`: builds MapleAI and runs it in the development environment with a private PostgreSQL, until Ctrl-C.
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

on_exit() {
    forget_local_model
    release_postgres
}

# Ctrl-C is how this command is meant to end.
end_jobs_on_exit
trap 'echo; echo "Stopping MapleAI ..."; exit 0' INT

ensure_rust
needs=(compiler)
[ -n "${DATABASE_URL:-}" ] || needs+=(postgres)
"$here/install.sh" "${needs[@]}"
build
lease_postgres
start_redis_if_any
announce_local_model
serve
start_local_model
wait_job "$server_job"
