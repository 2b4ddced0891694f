# shellcheck shell=bash
# Sourced by deploy.sh and rollback.sh (after environment.sh): what runs in an environment, and how it is moved and followed.
#
# By kubectl alone, without the plug-in of Argo Rollouts: the way back must not hang on a tool that may be missing when it is
# needed. A Rollout takes its pods from the Deployment of the same name (workloadRef), so a version is changed there, and what
# the Rollout says counts only once its controller has seen the Deployment as it is.

app=mapleai-app
# The versions that served, by their hash, latest first. The Rollout's own revisions also hold those that failed.
served_annotation=mapleai.dev/served
poll=${POLL_SECONDS:-3}
# The controller looks within seconds; after so many it does not run, or cannot make sense of the Rollout.
seen_limit=${SEEN_LIMIT:-120}

choose_environment() {
    case $1 in
        staging | production) environment=$1 ;;
        *) die "there is no environment '$1'; there are staging and production" ;;
    esac
    command -v kubectl >/dev/null || die "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)"
}

kube() {
    kubectl --namespace "$environment" --request-timeout=30s "$@"
}

# What the Deployment is to run; nothing when there is none.
deployed_image() {
    kube get deployment "$app" --ignore-not-found \
        --output "jsonpath={.spec.template.spec.containers[?(@.name==\"$app\")].image}"
}

# rollout_says PATHS...: fields of the Rollout with '|' between them; nothing when there is none.
rollout_says() {
    local template='' path
    for path in "$@"; do template+="${template:+|}{$path}"; done
    kube get rollout "$app" --ignore-not-found --output "jsonpath=$template"
}

# Sets $phase, $current, $stable, $promoted, $step, $weight, $message, and $seen, which is 'yes' when they are about the Deployment as it
# is now: before, a Rollout is still as healthy as the version before made it. Fails when the cluster does not answer.
look_at_rollout() {
    local line wanted generation observed workload
    # Asked for in this order: a change in between makes it 'no', never a wrong 'yes'.
    line=$(kube get "deployment/$app" "rollout/$app" --output "jsonpath={.items[0].metadata.generation}|{.items[1].metadata.generation}|\
{.items[1].status.observedGeneration}|{.items[1].status.workloadObservedGeneration}|{.items[1].status.phase}|\
{.items[1].status.currentPodHash}|{.items[1].status.stableRS}|{.items[1].status.promoteFull}|{.items[1].status.currentStepIndex}|\
{.items[1].status.canary.weights.canary.weight}|{.items[1].status.message}") || return 1
    # shellcheck disable=SC2034 # $promoted is for rollback.sh
    IFS='|' read -r wanted generation observed workload phase current stable promoted step weight message <<<"$line"
    seen=no
    [ "$generation" != "$observed" ] || [ "$wanted" != "$workload" ] || seen=yes
}

# Whether the controller has seen the Deployment and the Rollout as they are, or does within its time.
until_seen() {
    local deadline=$((SECONDS + seen_limit))
    until look_at_rollout && [ "$seen" = yes ]; do
        ((SECONDS < deadline)) || return 1
        sleep "$poll"
    done
}

# follow_rollout SECONDS: tells every step; whether the new version came to serve everybody. 3 when its analysis could not say, and
# the roll-out waits for somebody to decide.
follow_rollout() {
    local limit=$1 deadline=$((SECONDS + $1)) unseen=$((SECONDS + seen_limit)) degraded=0 now told=''
    while true; do
        if ! look_at_rollout; then
            now='the cluster does not answer'
        elif [ "$seen" = no ]; then
            now="the controller has not seen it yet${message:+ ($message)}"
            if ((SECONDS >= unseen)); then
                echo "$now, after $seen_limit s"
                return 1
            fi
        else
            now="step ${step:-0}, ${weight:-0} % of the traffic: ${phase:-no phase yet}${message:+, $message}"
        fi
        if [ "$now" != "$told" ]; then printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$now"; fi
        told=$now
        if [[ $now == step* ]] && [ "$phase" = Healthy ] && [ "$current" = "$stable" ]; then return 0; fi
        if [[ $now == step* ]] && [ "$phase" = Paused ] && [[ $message == *Inconclusive* ]]; then return 3; fi
        # Twice: the first look may fall between the new version's start and the end of what was said of the one before.
        if [[ $now == step* ]] && [ "$phase" = Degraded ]; then degraded=$((degraded + 1)); else degraded=0; fi
        [ "$degraded" -lt 2 ] || return 1
        if ((SECONDS >= deadline)); then
            echo "not finished after $limit s"
            return 1
        fi
        sleep "$poll"
    done
}

# follow_deployment SECONDS: whether all pods are of the new version and up.
follow_deployment() {
    # The outer limit is for a server that no longer answers.
    timeout $(($1 + 30)) kubectl --namespace "$environment" rollout status "deployment/$app" --timeout "$1s"
}

# Before a new version comes: the one that serves is what a rollback goes to. The latest five are kept.
remember_what_serves() {
    local line serves list hash
    line=$(rollout_says .status.stableRS ".metadata.annotations.${served_annotation//./\\.}") || return 1
    IFS='|' read -r serves list <<<"$line"
    [ -n "$serves" ] || return 0
    local remembered=("$serves")
    for hash in $list; do
        if [ "$hash" != "$serves" ] && [ ${#remembered[@]} -lt 5 ]; then remembered+=("$hash"); fi
    done
    kube annotate rollout "$app" --overwrite "$served_annotation=${remembered[*]}"
}
