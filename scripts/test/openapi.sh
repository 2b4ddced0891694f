#!/usr/bin/env bash
# Every operation of the OpenAPI document, tried with generated requests, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

start_services postgres
# The sign-in throttle and the limits of one person have tests of their own; here they would answer for the code behind them. And
# nobody watches the answers of the development model arrive.
server_environment=(
    MAPLE__AUTH__THROTTLE_PER_ACCOUNT=1000000
    MAPLE__AUTH__THROTTLE_PER_ADDRESS=1000000
    MAPLE__AUTH__THROTTLE_SIGN_INS=1000000
    MAPLE__LIMITS__KEYS_PER_PERSON=1000000
    MAPLE__LIMITS__INVITATIONS_PER_PERSON=1000000
    MAPLE__LIMITS__INVITATIONS_PER_ORGANIZATION=1000000
    MAPLE__LIMITS__SESSIONS_PER_PERSON=1000000
    MAPLE__PROVIDERS__MAPLE_DEV__FIRST_TOKEN_DELAY=0s
    MAPLE__PROVIDERS__MAPLE_DEV__TOKEN_DELAY=0s
)
start_server
run_pytest tests/clients/test_schemathesis.py "$@"
