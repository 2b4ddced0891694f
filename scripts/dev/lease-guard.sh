#!/usr/bin/env bash
# lease-guard.sh FILE: stops the private PostgreSQL once nobody holds the lease any more, for users of it that were killed.
# Whoever ends in order has stopped it before, and then there is nothing to do.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
trap '' INT HUP
exec 9>>"$1"
flock -x 9
env -u DATABASE_URL "$here/postgres.sh" stop 9>&-
