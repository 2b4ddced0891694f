#!/usr/bin/env bash
# The page for people, in real Chromium, against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" browser
modules=$("$MAPLE_ROOT/scripts/test/node.sh")
start_services postgres
# Beside the development models.
start_page_upstream
server_environment=(
    MAPLE__PROVIDERS__TOLD__KIND=openai "MAPLE__PROVIDERS__TOLD__BASE_URL=http://127.0.0.1:$upstream_port/v1"
    MAPLE__PROVIDERS__TOLD__DISCOVER_MODELS=true
    # Each test registers somebody, all from one address.
    MAPLE__AUTH__THROTTLE_PER_ADDRESS=10000 MAPLE__AUTH__THROTTLE_SIGN_INS=10000
)
# A model that is run beside the server: the tests say how it is, and the same model server answers for it.
local_dir=$(mktemp -d "${TMPDIR:-/tmp}/mapleai-local.XXXXXX")
server_environment+=(MAPLE__PROVIDERS__LOCAL__KIND=local "MAPLE__PROVIDERS__LOCAL__STATE_FILE=$local_dir/state.json")
# What is on this machine is asked directly, whatever proxy there is for the rest.
server_environment+=(HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1 ALL_PROXY=http://127.0.0.1:1 all_proxy=http://127.0.0.1:1 NO_PROXY= no_proxy=)
export LOCAL_STATE=$local_dir/state.json LOCAL_URL=http://127.0.0.1:$upstream_port/v1
on_exit() {
    rm -rf "$local_dir"
    remove_server "$1"
    stop_services
}
start_server
MAPLE_AXE=$modules/node_modules/axe-core/axe.min.js run_pytest tests/clients/test_browser.py tests/clients/test_page.py \
    tests/clients/test_page_access.py tests/clients/test_page_audit.py tests/clients/test_page_forms.py tests/clients/test_page_local.py tests/clients/test_page_watching.py "$@"
