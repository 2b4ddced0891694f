#!/usr/bin/env bash
# Ways in which `make run` ends: run-ends.sh [STAGE:END...], or `all`.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test run-ends "$@"
