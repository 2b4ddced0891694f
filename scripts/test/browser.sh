#!/usr/bin/env bash
# The page for people, in real Chromium, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" browser
start_services postgres
start_server
run_pytest tests/clients/test_browser.py "$@"
