#!/usr/bin/env bash
# shown.sh ITEM BY COMMAND...: runs the command and writes evidence of how it ended; ends with its status.
#
# A command that ends with 3 did its work but shows nothing, such as a notification that there is nobody to send to: no evidence,
# and 0. What ran while the checkout changed was neither of the one commit nor of the other: no evidence.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -ge 3 ] || die "usage: shown.sh ITEM BY COMMAND..."
item=$1 by=$2
shift 2

checkout() {
    git -C "$MAPLE_ROOT" rev-parse HEAD && git -C "$MAPLE_ROOT" status --porcelain --untracked-files=no
}

before=$(checkout 2>/dev/null) || before=
status=0
"$@" || status=$?
if [ "$status" -eq 3 ]; then
    echo "No evidence of '$item' was written: nothing was shown"
    exit 0
fi
if [ -z "$before" ]; then
    echo "No evidence of '$item' was written: this is no git checkout"
    exit "$status"
elif [ "$(checkout)" != "$before" ]; then
    echo "No evidence of '$item' was written: the checkout changed meanwhile"
    exit "$status"
fi
outcome=passed
[ "$status" -eq 0 ] || outcome=failed
"$here/evidence.sh" "$item" "$outcome" "$by" "status $status"
exit "$status"
