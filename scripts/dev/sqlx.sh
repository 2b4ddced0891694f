#!/usr/bin/env bash
# sqlx.sh prepare|check: the committed query data in .sqlx, made by compiling against a real, freshly migrated database.
#
# The query macros write that data themselves when SQLX_OFFLINE_DIR is set, so no further tool is needed.
# `check` fails when what is committed differs from what the code and the migrations say now.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/jobs.sh
source "$here/../jobs.sh"
# shellcheck source=scripts/test/services.sh
source "$here/../test/services.sh"
cd "$MAPLE_ROOT"

[[ ${1:-} =~ ^(prepare|check)$ ]] || die "usage: $0 prepare|check"
action=$1

on_exit() {
    rm -rf "${fresh:-}"
    stop_services
}
end_jobs_on_exit
start_services postgres
fresh=$(mktemp -d)

scratch=mapleai_sqlx_$$
test_psql postgres -qc "CREATE DATABASE $scratch"
for migration in migrations/*.sql; do
    case $migration in
        *.down.sql) ;;
        *) test_psql "$scratch" -q -f "$migration" >/dev/null ;;
    esac
done

# The macros run again only if the crate is compiled again; a cfg of its own has that effect and leaves the
# dependencies alone.
SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh DATABASE_URL=$(test_database_url "$scratch") \
    run_job cargo rustc --locked --package mapleai-store --lib --profile check -- --cfg "sqlx_prepare_$$"
test_psql postgres -qc "DROP DATABASE $scratch WITH (FORCE)"

if [ "$action" = prepare ]; then
    mkdir -p .sqlx
    rm -f .sqlx/query-*.json
    cp "$fresh"/query-*.json .sqlx/
    echo "Wrote the data of $(find .sqlx -name 'query-*.json' | wc -l) queries to .sqlx"
elif diff -rq "$fresh" .sqlx; then
    echo "The data of $(find .sqlx -name 'query-*.json' | wc -l) queries in .sqlx is current"
else
    die ".sqlx is out of date: run 'make sqlx-prepare' and commit the result"
fi
