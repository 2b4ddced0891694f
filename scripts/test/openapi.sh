#!/usr/bin/env bash
# Every operation of the OpenAPI document, tried with generated requests; arguments go to pytest.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test openapi "$@"
