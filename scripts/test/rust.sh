#!/usr/bin/env bash
# The Rust tests, against real PostgreSQL and Redis; arguments select tests.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test rust "$@"
