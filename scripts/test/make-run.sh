#!/usr/bin/env bash
# `make run` as a newcomer meets it.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test make-run "$@"
