#!/usr/bin/env bash
# `make rollback ENVIRONMENT=...`: all traffic to the previous version. The schema stays: it was made to carry both.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -eq 1 ] || die "usage: rollback.sh staging|production"
environment=$1
command -v kubectl >/dev/null || die "kubectl is missing"
if kubectl --namespace "$environment" get rollout mapleai-app >/dev/null 2>&1; then
    # In the middle of a roll-out: stop, which gives the traffic back at once. After one: to the version before.
    phase=$(kubectl --namespace "$environment" get rollout mapleai-app --output 'jsonpath={.status.phase}')
    if [ "$phase" = Healthy ]; then
        kubectl argo rollouts undo mapleai-app --namespace "$environment"
        # The old pods are still there, and were judged when they were new.
        kubectl argo rollouts promote mapleai-app --full --namespace "$environment"
        kubectl argo rollouts status mapleai-app --namespace "$environment" --timeout 600s
    else
        kubectl argo rollouts abort mapleai-app --namespace "$environment"
    fi
else
    kubectl rollout undo deployment/mapleai-app --namespace "$environment"
    kubectl rollout status deployment/mapleai-app --namespace "$environment" --timeout 600s
fi
echo "$environment is on the previous version"
