#!/usr/bin/env bash
# Every operation of the OpenAPI document, tried with generated requests, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

start_services postgres
# The sign-in throttle has tests of its own; here it would answer for the code behind it.
server_environment=(MAPLE__AUTH__THROTTLE_PER_ACCOUNT=1000000 MAPLE__AUTH__THROTTLE_PER_ADDRESS=1000000)
start_server
run_pytest tests/clients/test_schemathesis.py "$@"
