#!/usr/bin/env bash
# `make build`: the release binary, laid out by the profile of `make profile` if there is one.
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
cd "$MAPLE_ROOT"
# shellcheck source=scripts/release-flags.sh
source scripts/release-flags.sh
exec scripts/dev/cargo.sh build --release --locked
