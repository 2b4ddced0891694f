#!/usr/bin/env bash
# The official OpenAI SDKs for JavaScript and Python against a started server; arguments go to pytest.
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" test clients "$@"
