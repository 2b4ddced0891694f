#!/usr/bin/env bash
# cargo with the project's settings (target folder, offline queries).
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# shellcheck source=scripts/dev/rust-version.sh
source "$MAPLE_ROOT/scripts/dev/rust-version.sh"
cd "$MAPLE_ROOT"
ensure_rust

"$MAPLE_ROOT/scripts/dev/install.sh" compiler
exec cargo "$@"
