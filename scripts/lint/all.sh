#!/usr/bin/env bash
# `make lint`: formatting, clippy, dependencies, shell scripts. Runs all of them, so that one look shows every fault.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/jobs.sh
source "$here/../jobs.sh"
# shellcheck source=scripts/phases.sh
source "$here/../phases.sh"
cd "$MAPLE_ROOT"
end_jobs_on_exit

"$here/../dev/install.sh" compiler
phase rustfmt cargo fmt --all --check
phase clippy cargo clippy --workspace --all-targets --locked -- -D warnings
phase cargo-deny "$here/deny.sh"
phase shellcheck "$here/shell.sh"
phase line-ends "$here/line-ends.sh"
report_phases
phases_passed
