#!/usr/bin/env bash
# `make rehearse`: candidates, good and bad, go through the roll-out's own analysis. rehearse.sh [--short] [--report]
#   --short    one good candidate and two bad ones
#   --report   writes docs/reports/rehearsal.json, .md and .png, else into a temporary folder
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"

choice=() report=
for argument in "$@"; do
    case $argument in
        --short) choice=(--only "good, blue-green" --only "5 % errors" --only "failing completions") ;;
        --report) report=docs/reports ;;
        *) die "usage: rehearse.sh [--short] [--report]" ;;
    esac
done
command -v kubectl >/dev/null || die "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)"
"$MAPLE_ROOT/scripts/dev/install.sh" compiler haproxy prometheus postgres python
read -r previous stable < <("$MAPLE_ROOT/scripts/xtask.sh" previous)
cargo build --locked --bin mapleai
make_services_dir
# A copy: another build in the same folder must not change what runs.
cp "$CARGO_TARGET_DIR/debug/mapleai" "$services_dir/candidate"
start_services postgres
for database in rehearsal rehearsal_empty; do
    test_psql postgres -qc "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database"
done
venv=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements.txt)
PYTHONDONTWRITEBYTECODE=1 run_job "$venv/bin/python" tests/delivery/rehearse.py \
    --stable "$stable" --stable-commit "$previous" --candidate "$services_dir/candidate" \
    --database "$(test_database_url rehearsal)" --empty-database "$(test_database_url rehearsal_empty)" \
    --report "${report:-$services_dir}" "${choice[@]}"
cat "${report:-$services_dir}/rehearsal.json"
