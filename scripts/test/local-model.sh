#!/usr/bin/env bash
# The crate of the small model, and how people meet it.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test local-model "$@"
