#!/usr/bin/env bash
# `make compatibility`: the previous release's binary on the new schema under load, and the new binary on the old schema.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler postgres python
read -r previous binary < <("$MAPLE_ROOT/scripts/xtask.sh" previous)
cargo build --locked --bin mapleai
make_services_dir
cp "$CARGO_TARGET_DIR/debug/mapleai" "$services_dir/new"
start_services postgres
for database in compatibility compatibility_old; do
    test_psql postgres -qc "DROP DATABASE IF EXISTS $database WITH (FORCE)" -c "CREATE DATABASE $database"
done
venv=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements.txt)
echo "The previous release is ${previous:0:12}"
MAPLE_OLD=$binary MAPLE_NEW=$services_dir/new MAPLE_FOLDER=$services_dir \
    MAPLE_DATABASE=$(test_database_url compatibility) MAPLE_OLD_DATABASE=$(test_database_url compatibility_old) \
    PYTHONDONTWRITEBYTECODE=1 run_job "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir tests/delivery \
    tests/delivery/test_compatibility.py
