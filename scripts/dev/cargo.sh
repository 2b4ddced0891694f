#!/usr/bin/env bash
# cargo with the project's settings (target folder, offline queries).
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler
exec cargo "$@"
