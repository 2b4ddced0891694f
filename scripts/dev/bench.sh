#!/usr/bin/env bash
# `make bench`: the gateway benchmark, with a throw-away PostgreSQL; arguments go to the benchmark.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"

start_services postgres
run_job cargo bench --locked --bench gateway -- "$@"
