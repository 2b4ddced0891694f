#!/usr/bin/env bash
# health-check.sh URL [OPS_URL]: `mapleai smoke`, which says whether a deployed MapleAI does its work (`mapleai smoke --help`), by the
# binary that is at hand: MAPLE_BINARY, the one in IMAGE (by digest, as in the pipeline), one on the PATH, the one built last, or one that
# is built now.
set -euo pipefail

if [ -n "${MAPLE_BINARY:-}" ]; then exec "$MAPLE_BINARY" smoke "$@"; fi
if [[ ${IMAGE:-} =~ @sha256:[0-9a-f]{64}$ ]] && command -v docker >/dev/null; then
    # Variables by their names alone: arguments can be read by everybody.
    exec docker run --rm --network=host --read-only --cap-drop=ALL --security-opt=no-new-privileges --env SMOKE_EMAIL --env SMOKE_PASSWORD \
        --env SMOKE_MODEL --env HEALTH_CHECK_TIMEOUT --env HTTPS_PROXY --env NO_PROXY "$IMAGE" smoke "$@"
fi
if command -v mapleai >/dev/null; then exec mapleai smoke "$@"; fi
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
for binary in "$CARGO_TARGET_DIR"/{release,debug}/mapleai; do
    if [ -x "$binary" ]; then exec "$binary" smoke "$@"; fi
done
exec "$MAPLE_ROOT/scripts/dev/cargo.sh" run --quiet --locked --bin mapleai -- smoke "$@"
