#!/usr/bin/env bash
# Runs shellcheck over every script of the project.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

venv=$("$here/../test/python.sh")
mapfile -t scripts < <(find scripts k8s compose docs -name '*.sh' 2>/dev/null | sort)
"$venv/bin/shellcheck" --external-sources .ci/run "${scripts[@]}"
echo "shellcheck: $((${#scripts[@]} + 1)) scripts are clean"
