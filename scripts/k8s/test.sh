#!/usr/bin/env bash
# `make k8s-test`; arguments go to pytest, and only it is run then.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" k8s-test "$@"
