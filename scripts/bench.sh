#!/usr/bin/env bash
# `make bench`, with the options of crates/bench.
exec "$(dirname "${BASH_SOURCE[0]}")/xtask.sh" bench "$@"
