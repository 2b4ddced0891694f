#!/usr/bin/env bash
# `make deploy ENVIRONMENT=... IMAGE=...@sha256:...`: the database first, then what serves, followed to its end.
#
# Everything but what serves is applied; the migration Job, named after the image, is awaited; then come the Deployment and the
# Rollout. A new version that does not get through is taken back, and this ends with 1. One that there is too little traffic to judge
# waits for somebody to decide, and this ends with 3. It can be run again at any time.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/delivery/cluster.sh
source "$here/cluster.sh"
cd "$MAPLE_ROOT"

# What is waited for: a migration has 15 minutes by itself, a roll-out ten for its pods and some four for each analysis.
MIGRATION_LIMIT=${MIGRATION_LIMIT:-960}
ROLLOUT_LIMIT=${ROLLOUT_LIMIT:-3600}

[ $# -eq 2 ] || die "usage: deploy.sh staging|production IMAGE@sha256:DIGEST"
choose_environment "$1"
image=$2

# In a copy: deploying changes nothing in the checkout.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R config k8s "$work/"
KUSTOMIZE_FOLDER=$work/k8s/$environment "$here/pin.sh" "$environment" "$image"
kubectl kustomize "$work/k8s/$environment" >"$work/all.yaml"
job=$(sed -n 's/^  name: \(mapleai-migrate-[0-9a-f]*\)$/\1/p' "$work/all.yaml" | head -n 1)
[ -n "$job" ] || die "k8s/$environment has no migration"
strategy=deployment
if grep -q '^kind: Rollout$' "$work/all.yaml"; then strategy=rollout; fi

# The objects name their namespaces themselves.
apply() {
    kubectl --request-timeout=60s apply --filename "$work/all.yaml" --selector "$1"
}

# The Job's conditions that hold, or nothing.
job_is() {
    kube get job "$job" --ignore-not-found --output 'jsonpath={.status.conditions[?(@.status=="True")].type}'
}

before=$(deployed_image) || die "the cluster does not say what runs in $environment (above); nothing was touched"
echo "=== $environment: from ${before:-nothing} to $image"

# A Job runs once. One that ended, well or not, makes room: migrating again does nothing where nothing is to be done.
state=$(job_is) || die "the cluster does not say what became of $job (above); nothing was touched"
if [[ " $state " == *" Complete "* || " $state " == *" Failed "* ]]; then
    kube delete job "$job" --ignore-not-found --cascade=foreground --timeout=60s
fi
echo "=== What does not serve"
apply 'mapleai.dev/stage!=serve'
echo "=== Migration $job"
deadline=$((SECONDS + MIGRATION_LIMIT))
# A look that fails is not the last: only the limit ends the waiting.
until state=$(job_is) && [[ " $state " == *" Complete "* ]]; do
    if [[ " $state " == *" Failed "* ]] || ((SECONDS >= deadline)); then
        kube get pods --selector "job-name=$job" || true
        kube logs "job/$job" --tail 50 || true
        die "the migration did not complete${state:+ ($state)}; nothing that serves was touched"
    fi
    sleep "$poll"
done

echo "=== What serves"
if [ $strategy = rollout ] && [ "$before" = "$image" ] && [ "$(rollout_says .status.abort)" = true ]; then
    echo "The last roll-out of this image was stopped; it is taken back whole and begins anew"
    "$here/rollback.sh" "$environment" "$image"
    before=$(deployed_image)
fi
# For the pipeline: from here on there is something to take back. What was there before is not taken back for a later fault.
if [ "$before" != "$image" ]; then echo 'changed=yes' >>"${GITHUB_OUTPUT:-/dev/null}"; fi
if [ $strategy = rollout ]; then remember_what_serves; fi
apply 'mapleai.dev/stage=serve'
item=traffic
[ "$environment" = production ] || item=staging
followed=0
"follow_$strategy" "$ROLLOUT_LIMIT" || followed=$?
if [ $followed -eq 0 ]; then
    "$here/evidence.sh" "$item" passed "make deploy ENVIRONMENT=$environment" "$image"
    exit 0
fi

if [ $strategy = rollout ]; then
    echo "=== What its analyses found"
    kube get analysisruns --sort-by .metadata.creationTimestamp \
        --output 'custom-columns=RUN:.metadata.name,PHASE:.status.phase,WHY:.status.message' | tail -n 8 || true
fi
if [ $followed -eq 3 ]; then
    # Nothing speaks against it, so nothing is taken back; nothing speaks for it either, so there is no evidence.
    echo 'changed=no' >>"${GITHUB_OUTPUT:-/dev/null}"
    cat >&2 <<EOF
$image has a part of the traffic in $environment and waits there: its analysis had too little traffic to judge by.
  to go on:    kubectl argo rollouts --namespace $environment promote $app   (the next step is judged again)
  to go back:  make rollback ENVIRONMENT=$environment
EOF
    exit 3
fi
kube get pods --selector "app=$app" || true
"$here/evidence.sh" "$item" failed "make deploy ENVIRONMENT=$environment" "$image" || true
if [ "$before" = "$image" ]; then
    die "$image is not well in $environment. It was there before, so it stays; to go back: make rollback ENVIRONMENT=$environment"
elif [ -z "$before" ]; then
    die "$image did not get up in $environment, and there is no version before it"
elif "$here/rollback.sh" "$environment" "$image"; then
    die "$image did not get through in $environment and was taken back"
fi
die "$image did not get through in $environment and could not be taken back (above); people are needed"
