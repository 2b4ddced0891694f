#!/usr/bin/env bash
# The Rust tests, against real PostgreSQL and Redis; arguments select tests. nextest is used where it is installed.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" haproxy nginx prometheus faketime
# Some tests go through a real PgBouncer. A machine that cannot have one goes on without them and says so; CI does not.
if ! MAPLE_PGBOUNCER=$("$MAPLE_ROOT/scripts/test/pgbouncer.sh"); then
    [ -z "${CI:-}" ] || die "no PgBouncer, and this is CI"
    echo "warning: without PgBouncer the tests that go through one are skipped" >&2
fi
export MAPLE_PGBOUNCER
start_services postgres redis
if cargo nextest --version >/dev/null 2>&1; then
    run_job cargo nextest run --locked --no-fail-fast "$@"
else
    run_job cargo test --locked --no-fail-fast -- "$@"
fi
