#!/usr/bin/env bash
# `make rollback ENVIRONMENT=... [FROM=IMAGE@sha256:...]`: all traffic to the version that served before. With FROM only if that
# is the image in place, so that it can be run twice. The schema stays: it was made to carry both.
#
# A Rollout in the middle is stopped, which gives the traffic back at once; after one, its old pods are still up for a while,
# and all traffic goes back to them in one step, without another analysis.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/delivery/cluster.sh
source "$here/cluster.sh"
cd "$MAPLE_ROOT"

# Pods that are gone must be started anew.
ROLLBACK_LIMIT=${ROLLBACK_LIMIT:-600}

[ $# -ge 1 ] && [ $# -le 2 ] || die "usage: rollback.sh staging|production [FROM_IMAGE@sha256:DIGEST]"
choose_environment "$1"
from=${2:-}
[[ -z $from || $from =~ @sha256:[0-9a-f]{64}$ ]] || die "'$from' is no image by digest, such as registry.example/mapleai@sha256:<64 digits>"

deployed=$(deployed_image) || die "the cluster does not say what runs in $environment (above)"
[ -n "$deployed" ] || die "nothing runs in $environment"
if [ -n "$from" ] && [ "$deployed" != "$from" ]; then
    echo "$environment is set to $deployed, not to $from: nothing to take back"
    exit 0
fi

patch_status() {
    kube patch rollout "$app" --subresource=status --type=merge --patch "{\"status\":{\"$1\":true}}"
}

# Sets $target, the latest version that served before the one that serves now, and $earlier, those before it.
choose_before() {
    local list hash
    list=$(rollout_says ".metadata.annotations.${served_annotation//./\\.}")
    target='' earlier=()
    for hash in $list; do
        if [ -n "$target" ]; then
            earlier+=("$hash")
        elif [ "$hash" != "$stable" ]; then
            target=$hash
        fi
    done
}

# set_version HASH: the Deployment gets the pods of that version; the Rollout follows it.
set_version() {
    local pods
    pods=$(kube get replicasets --selector "app=$app,rollouts-pod-template-hash=$1" --output 'jsonpath={.items[*].spec.template}')
    [ -n "$pods" ] || die "version $1 is no longer known to the cluster; deploy its image: make deploy ENVIRONMENT=$environment IMAGE=..."
    printf '[{"op":"replace","path":"/spec/template","value":%s},
        {"op":"remove","path":"/spec/template/metadata/labels/rollouts-pod-template-hash"}]\n' "$pods" >"$work/patch"
    kube patch deployment "$app" --type=json --patch-file "$work/patch"
}

not_seen() {
    die "the controller of Argo Rollouts does not react${message:+ ($message)}: kubectl --namespace argo-rollouts get pods." \
        "Until it does, traffic is moved by the weights of: kubectl --namespace $environment edit virtualservice mapleai"
}

roll_back_rollout() {
    if ! until_seen; then
        # What it finds when it comes back is to be what serves.
        if [ -n "$stable" ]; then set_version "$stable"; fi
        not_seen
    fi
    [ -n "$stable" ] || die "no version has ever served in $environment: there is nothing to go back to"
    target=$stable
    if [ "$current" != "$stable" ] && [ "$promoted" = true ]; then
        target=$current
        echo "Already on the way from $stable back to $target"
    elif [ "$current" != "$stable" ]; then
        echo "Stopping the roll-out of $current: the traffic goes back to $stable"
        patch_status abort
        # The version, too: otherwise the one that failed would stay the one that is wanted, and could not be tried again.
        set_version "$target"
    else
        choose_before
        [ -n "$target" ] || die "no version is known to have served before $stable; deploy one: make deploy ENVIRONMENT=$environment IMAGE=..."
        echo "From $stable back to $target"
        set_version "$target"
        # So that another rollback goes on to the one before, and not back to this.
        kube annotate rollout "$app" --overwrite "$served_annotation=${earlier[*]}" || true
    fi
    until_seen || not_seen
    # What served before was judged when it was new.
    if [ "$current" != "$stable" ] && [ "$current" = "$target" ]; then patch_status promoteFull; fi
    follow_rollout "$ROLLBACK_LIMIT" || die "$environment was set back to $target, but is not well; see: kubectl --namespace $environment get pods"
}

roll_back_deployment() {
    kube rollout undo "deployment/$app" || die "there is no version before $deployed in $environment (above)"
    follow_deployment "$ROLLBACK_LIMIT" || die "$environment was set back, but is not well; see: kubectl --namespace $environment get pods"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# By the manifests, as deploy.sh does: a cluster that does not answer must not look like one without a Rollout.
kubectl kustomize "k8s/$environment" >"$work/all.yaml"
if grep -q '^kind: Rollout$' "$work/all.yaml"; then roll_back_rollout; else roll_back_deployment; fi
echo "$environment is back on $(deployed_image)"
