#!/usr/bin/env bash
# `make deploy ENVIRONMENT=... IMAGE=...@sha256:...`: the database first, then what serves, followed to its end.
#
# Everything but what serves is applied; the migration Job, named after the image, is awaited; then come the Deployment or the
# Rollout. A roll-out that fails is taken back by itself (Rollout), or here (Deployment); either way this ends with 1.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
cd "$MAPLE_ROOT"

# What is waited for: a migration has 15 minutes by itself, a roll-out ten for its pods and some three for each analysis.
MIGRATION_LIMIT=${MIGRATION_LIMIT:-960}
ROLLOUT_LIMIT=${ROLLOUT_LIMIT:-3600}

[ $# -eq 2 ] || die "usage: deploy.sh staging|production IMAGE@sha256:DIGEST"
environment=$1 image=$2
command -v kubectl >/dev/null || die "kubectl is missing"
[ -d "k8s/$environment" ] || die "there is no environment '$environment'; there are staging and production"

# In a copy: deploying changes nothing in the checkout.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R config k8s "$work/"
KUSTOMIZE_FOLDER=$work/k8s/$environment "$here/pin.sh" "$environment" "$image"
kubectl kustomize "$work/k8s/$environment" >"$work/all.yaml"
job=$(sed -n 's/^  name: \(mapleai-migrate-[0-9a-f]*\)$/\1/p' "$work/all.yaml")
[ -n "$job" ] || die "k8s/$environment has no migration"

echo "=== What does not serve"
kubectl apply --filename "$work/all.yaml" --selector 'mapleai.dev/stage!=serve'
echo "=== Migration $job"
# condition TYPE: what the Job says of it, or nothing.
condition() {
    kubectl --namespace "$environment" get job "$job" --output "jsonpath={.status.conditions[?(@.type==\"$1\")].status}" || true
}
deadline=$((SECONDS + MIGRATION_LIMIT))
until [ "$(condition Complete)" = True ]; do
    if [ "$(condition Failed)" = True ] || ((SECONDS > deadline)); then
        kubectl --namespace "$environment" logs "job/$job" --tail 50 || true
        die "the migration did not complete; nothing that serves was touched"
    fi
    sleep "${POLL_SECONDS:-3}"
done
echo "=== What serves"
kubectl apply --filename "$work/all.yaml" --selector 'mapleai.dev/stage=serve'
if grep -q '^kind: Rollout$' "$work/all.yaml"; then
    kubectl argo rollouts status mapleai-app --namespace "$environment" --timeout "${ROLLOUT_LIMIT}s" || {
        kubectl argo rollouts get rollout mapleai-app --namespace "$environment" || true
        die "the roll-out was taken back; its analysis says why (above)"
    }
    evidence=traffic
else
    kubectl rollout status deployment/mapleai-app --namespace "$environment" --timeout "${ROLLOUT_LIMIT}s" || {
        "$here/rollback.sh" "$environment"
        die "the roll-out did not finish and was taken back"
    }
    evidence=staging
fi
"$here/evidence.sh" "$evidence" passed "make deploy ENVIRONMENT=$environment" "$image"
