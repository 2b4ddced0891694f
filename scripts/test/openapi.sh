#!/usr/bin/env bash
# Every operation of the OpenAPI document, tried with generated requests, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

start_services postgres
# The sign-in throttle has tests of its own; here it would answer for the code behind it. And nobody watches the answers
# of the development model arrive.
server_environment=(
    MAPLE__AUTH__THROTTLE_PER_ACCOUNT=1000000
    MAPLE__AUTH__THROTTLE_PER_ADDRESS=1000000
    MAPLE__PROVIDERS__MAPLE_DEV__FIRST_TOKEN_DELAY=0s
    MAPLE__PROVIDERS__MAPLE_DEV__TOKEN_DELAY=0s
)
start_server
run_pytest tests/clients/test_schemathesis.py "$@"
