#!/usr/bin/env bash
# `make load-check`: what admission is worth, as ratios within one run (tests/api/overload.rs). The machine should have nothing else to do.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

start_services postgres redis
run_job cargo test --locked --test api -- --ignored --test-threads=1 overload::
