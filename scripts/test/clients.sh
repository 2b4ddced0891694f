#!/usr/bin/env bash
# The official OpenAI SDKs for JavaScript and Python against a started server.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"

start_services postgres
start_server
venv=$("$MAPLE_ROOT/scripts/test/python.sh")
modules=$("$MAPLE_ROOT/scripts/test/node.sh")

# The packages are in the cache, and Node looks for them beside the importing file: hence the copy.
node_dir=$server_dir/node
mkdir "$node_dir"
cp "$MAPLE_ROOT"/tests/clients/*.mjs "$MAPLE_ROOT/tests/clients/package.json" "$node_dir/"
ln -s "$modules/node_modules" "$node_dir/node_modules"

failed=
run_job env -C "$node_dir" "$venv/node/bin/node" --test --test-timeout=120000 || failed=yes
run_pytest tests/clients/test_openai_python.py "$@" || failed=yes
[ -z "$failed" ]
