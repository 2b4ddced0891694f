#!/usr/bin/env bash
# `make bench-check URL=...`: a small, bounded load on what runs at URL, held against scripts/delivery/bounds.env. It signs in as
# scripts/health-check.sh does (SMOKE_EMAIL and SMOKE_PASSWORD; on localhost the demo account) and asks BENCH_MODEL, or the first
# chat model on offer. The questions cost tokens: how many is said before the first.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -eq 1 ] || die "usage: bench-check.sh URL"
[[ $1 =~ ^https?://[^/?#[:space:]@\"\\]+(/[^[:space:]?#\"\\]*)?$ ]] ||
    die "URL must be an http or https address without credentials, query or fragment, such as https://staging.mapleai.com"
command -v python3 >/dev/null || die "python3 is missing"
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/bench_check.py" "$1" "$here/bounds.env"
