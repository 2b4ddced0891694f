#!/usr/bin/env bash
# The page for people, in real Chromium, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" browser
modules=$("$MAPLE_ROOT/scripts/test/node.sh")
start_services postgres
# A model server that does what a question tells it to, beside the development models.
upstream_port=$(random_free_port)
start_job python3 "$MAPLE_ROOT/tests/clients/page_upstream.py" "$upstream_port"
tries=100
while port_is_free "$upstream_port"; do
    ((tries-- > 0)) || die "the page's model server did not start"
    sleep 0.1
done
server_environment=(
    MAPLE__PROVIDERS__TOLD__KIND=openai "MAPLE__PROVIDERS__TOLD__BASE_URL=http://127.0.0.1:$upstream_port/v1"
    MAPLE__PROVIDERS__TOLD__DISCOVER_MODELS=true
)
start_server
MAPLE_AXE=$modules/node_modules/axe-core/axe.min.js run_pytest tests/clients/test_browser.py tests/clients/test_page.py \
    tests/clients/test_page_access.py tests/clients/test_page_forms.py tests/clients/test_page_watching.py "$@"
