#!/usr/bin/env bash
# `make measure ENVIRONMENT=...`: error rate, response times and completions of the last 15 minutes, from PROMETHEUS_URL (with
# PROMETHEUS_TOKEN, if it wants one), against the bounds that a release is judged by. Of the version that serves: what the one
# before it did wrong must not take a release back that mends it. No data is a failure. Writes evidence.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -eq 1 ] || die "usage: measure.sh staging|production"
environment=$1
case $environment in staging | production) ;; *) die "there is no environment '$environment'; there are staging and production" ;; esac
# Credentials have no place in an address: that is an argument of curl, which others can read.
[[ ${PROMETHEUS_URL:-} =~ ^https?://[^/@[:space:]]+(/[^@?#[:space:]]*)?$ ]] ||
    die "PROMETHEUS_URL must be where Prometheus is, without credentials, such as http://localhost:9090"
[[ ${PROMETHEUS_TOKEN:-} =~ ^[A-Za-z0-9._~+/=-]*$ ]] || die "PROMETHEUS_TOKEN holds characters that no bearer token has"
url=${PROMETHEUS_URL%/}
token=${PROMETHEUS_TOKEN:-}
unset PROMETHEUS_TOKEN
routes="namespace=\"$environment\",http_route!~\"/api/(health|ready)|/metrics|other\""
requests=http_server_request_duration_seconds
completions="maple_completions_total{namespace=\"$environment\""
# The one with the most traffic of late. Where there is no Rollout, pods have no such label and are one.
serves="and on (rollouts_pod_template_hash) topk(1, sum by (rollouts_pod_template_hash) (rate(${requests}_count{$routes}[5m])))"
failed=0

# ask QUERY: the answer of Prometheus, or nothing and the reason on the terminal.
ask() {
    local credentials=''
    if [ -n "$token" ]; then credentials="header = \"Authorization: Bearer $token\""; fi
    curl --disable --config - --silent --show-error --fail --connect-timeout 5 --max-time 20 --get \
        --data-urlencode "query=$1" "$url/api/v1/query" <<<"$credentials"
}

# measure ITEM WHAT QUERY COMPARISON BOUND
measure() {
    local item=$1 what=$2 query=$3 comparison=$4 bound=$5 answer value outcome=passed
    answer=$(ask "$query") || answer=
    value=$(sed -n 's/.*"value":\[[0-9.e+]*,"\([^"]*\)"\].*/\1/p' <<<"$answer")
    # NaN and infinities are no measurements.
    if ! [[ $value =~ ^-?[0-9.]+([eE][-+]?[0-9]+)?$ ]] ||
        ! awk -v value="$value" -v bound="$bound" "BEGIN { exit !(value + 0 $comparison bound + 0) }"; then
        outcome=failed failed=1
    fi
    printf '%-7s %s: %s (must be %s %s)\n' "$outcome" "$what" "${value:-no data}" "$comparison" "$bound"
    "$here/evidence.sh" "$item" "$outcome" "make measure" "$what: ${value:-no data}, must be $comparison $bound" >/dev/null
}

measure error-rate 'share of errors' \
    "(sum(rate(${requests}_count{$routes,http_response_status_code=~\"5..\"}[15m]) $serves) or vector(0)) / sum(rate(${requests}_count{$routes}[15m]) $serves)" '<' 0.01
measure latency 'seconds, 95th percentile' \
    "histogram_quantile(0.95, sum by (le) (rate(${requests}_bucket{$routes}[15m]) $serves))" '<' 2.5
measure business 'share of completions that came whole' \
    "(sum(rate($completions,outcome=\"completed\"}[15m]) $serves) or vector(0)) / (sum(rate($completions,outcome!~\"cancelled|refused\"}[15m]) $serves) > 0)" '>' 0.98
if [ "$failed" -ne 0 ]; then die "$environment is outside the bounds of a release, or could not be measured"; fi
