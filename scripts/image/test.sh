#!/usr/bin/env bash
# `make image-test`: builds the image, runs it against a PostgreSQL of its own, and checks what is said of it. What was found
# goes to docs/reports/image.json with --report, else it is only printed.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"
# shellcheck source=scripts/image/engine.sh
source "$MAPLE_ROOT/scripts/image/engine.sh"

# shellcheck disable=SC2329 # called on the way out
on_exit() {
    stop_services
    remove_engine
}

report=
case ${1:-} in
    --report) report=docs/reports/image.json ;;
    '') ;;
    *) die "usage: test.sh [--report]" ;;
esac
make_services_dir
find_engine
revision=$(git rev-parse HEAD)
image=${IMAGE:-mapleai:${revision:0:12}}
IMAGE=$image "$MAPLE_ROOT/scripts/image/build.sh"
start_services postgres
venv=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements.txt)
test_psql postgres -qc 'CREATE DATABASE image_test' >/dev/null
MAPLE_IMAGE=$image MAPLE_REVISION=$revision MAPLE_DOCKER=${docker[0]} MAPLE_REPORT=${report:-$services_dir/image.json} \
    TEST_DATABASE_URL=$(test_database_url image_test) PYTHONDONTWRITEBYTECODE=1 \
    run_job "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir tests/delivery tests/delivery/test_image.py
cat "${report:-$services_dir/image.json}"
test_psql postgres -qc 'DROP DATABASE image_test WITH (FORCE)' >/dev/null
