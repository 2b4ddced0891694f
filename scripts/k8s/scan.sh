#!/usr/bin/env bash
# `make scan`: licences and sources of dependencies, and what scanners say of manifests, Dockerfile and workflows.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"
# shellcheck source=scripts/phases.sh
source "$MAPLE_ROOT/scripts/phases.sh"
# shellcheck source=scripts/k8s/tools.sh
source "$MAPLE_ROOT/scripts/k8s/tools.sh"

prepare_checks
phase cargo-deny "$MAPLE_ROOT/scripts/lint/deny.sh"
phase scanners "${checks[@]}" tests/k8s/test_scan.py
report_phases
phases_passed
