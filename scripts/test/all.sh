#!/usr/bin/env bash
# `make test`: all tests, with throw-away servers. Runs every suite, so that one look shows every fault.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
# shellcheck source=scripts/phases.sh
source "$MAPLE_ROOT/scripts/phases.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler postgres redis browser python
start_services postgres redis
phase_logs=$services_dir
if [ -z "$phase_logs" ]; then
    make_services_dir
    phase_logs=$services_dir
fi

phase sqlx-check "$MAPLE_ROOT/scripts/dev/sqlx.sh" check
phase rust "$MAPLE_ROOT/scripts/test/rust.sh"
phase clients "$MAPLE_ROOT/scripts/test/clients.sh"
phase browser "$MAPLE_ROOT/scripts/test/browser.sh"
phase openapi "$MAPLE_ROOT/scripts/test/openapi.sh"
phase local-model "$MAPLE_ROOT/scripts/test/local-model.sh"
phase make-run "$MAPLE_ROOT/scripts/test/make-run.sh"
phase run-ends "$MAPLE_ROOT/scripts/test/run-ends.sh"
report_phases

# The runners' own closing lines once more, together.
printf '\n'
for suite in rust clients browser openapi local-model; do
    grep -hE '^ +Summary \[|^test result:|^[^ ]+ (tests|pass|fail) [0-9]+$|^=+ .* in [0-9.]+s.* =+$' "$phase_logs/$suite" || true
done
phases_passed
