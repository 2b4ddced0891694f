#!/usr/bin/env bash
# `make checklist PHASE=pre|during|post [IMAGE=...@sha256:...]`: what is not shown of this commit yet. By the binary in IMAGE,
# where there is one already, as in the pipeline; else by one that is built here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

case ${1:-} in pre | during | post) ;; *) die "PHASE must be pre, during or post, not '${1:-}'" ;; esac
if [ -z "${2:-}" ]; then
    exec "$MAPLE_ROOT/scripts/dev/cargo.sh" run --quiet --locked --bin mapleai -- checklist "$1"
fi
[[ $2 =~ @sha256:[0-9a-f]{64}$ ]] || die "'$2' is no image by digest, such as registry.example/mapleai@sha256:<64 digits>"
command -v docker >/dev/null || die "docker is missing; without IMAGE the checklist is built here"
exec docker run --rm --network=none --read-only --cap-drop=ALL --security-opt=no-new-privileges \
    --volume "$MAPLE_ROOT:/checkout:ro" "$2" checklist "$1" --directory /checkout --commit "$(git rev-parse HEAD)"
