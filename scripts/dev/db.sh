#!/usr/bin/env bash
# `make db`: psql into the private PostgreSQL (or the one DATABASE_URL names); arguments go to psql.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/dev/lease.sh
source "$here/lease.sh"

if [ -n "${DATABASE_URL:-}" ]; then
    exec psql "$DATABASE_URL" "$@"
fi
# psql stays in the foreground for its terminal, where Ctrl-C cancels a query and must not end this script.
trap release_postgres EXIT
trap : INT
lease_postgres
env -u DATABASE_URL "$here/postgres.sh" psql "$@" 9>&-
