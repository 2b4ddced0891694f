#!/usr/bin/env bash
# shown.sh ITEM BY COMMAND...: runs the command and writes evidence of how it ended; ends with its status.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
item=$1 by=$2
shift 2
status=0
"$@" || status=$?
outcome=passed
[ "$status" -eq 0 ] || outcome=failed
"$here/evidence.sh" "$item" "$outcome" "$by" "status $status"
exit "$status"
