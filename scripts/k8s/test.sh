#!/usr/bin/env bash
# `make k8s-test`: manifests render, validate and say what the deployment strategy says; rules, dashboards and runbooks speak of
# metrics that a running instance exports; workflows, scripts, Dockerfile and migrations pass their linters.
#
# Arguments go to pytest, and only it is run then. KUBE_SCHEMAS names the folder with the schemas of custom resources
# (../shared/schemas unless told otherwise; `none` does without, and says so). MAPLE_BINARY names a built MapleAI.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"
# shellcheck source=scripts/phases.sh
source "$MAPLE_ROOT/scripts/phases.sh"
# shellcheck source=scripts/k8s/tools.sh
source "$MAPLE_ROOT/scripts/k8s/tools.sh"
# shellcheck source=scripts/k8s/metrics.sh
source "$MAPLE_ROOT/scripts/k8s/metrics.sh"

prepare_checks
start_instance
export MAPLE_METRICS_FILE=${services_dir:?}/metrics

if [ $# -gt 0 ]; then
    export_metrics "$MAPLE_METRICS_FILE"
    run_job "${checks[@]}" tests/k8s tests/monitoring "$@"
    exit
fi
phase xtask cargo test --quiet --locked --package xtask
phase manifests "${checks[@]}" tests/k8s
export_metrics "$MAPLE_METRICS_FILE"
phase monitoring "${checks[@]}" tests/monitoring
phase scripts "${checks[@]}" tests/delivery/test_health_check.py tests/delivery/test_bench_check.py tests/delivery/test_scripts.py \
    tests/delivery/test_deploy.py tests/delivery/test_pipeline.py
phase shellcheck "$MAPLE_ROOT/scripts/lint/shell.sh"
report_phases
phases_passed
