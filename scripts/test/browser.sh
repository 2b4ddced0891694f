#!/usr/bin/env bash
# The page for people, in real Chromium, against a started server; arguments go to pytest.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test browser "$@"
