#!/usr/bin/env bash
# `make measure ENVIRONMENT=...`: error rate, response times and completions of the last 15 minutes, from PROMETHEUS_URL, against
# the bounds that a release is judged by. No data is a failure. Writes evidence of each.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -eq 1 ] || die "usage: measure.sh staging|production"
[[ ${PROMETHEUS_URL:-} =~ ^https?:// ]] || die "PROMETHEUS_URL must be where Prometheus is, such as http://localhost:9090"
environment=$1
routes="namespace=\"$environment\",http_route!~\"/api/(health|ready)|/metrics|other\""
seconds=http_server_request_duration_seconds
failed=0

# measure ITEM WHAT QUERY COMPARISON BOUND
measure() {
    local item=$1 what=$2 query=$3 comparison=$4 bound=$5 answer value outcome=passed
    answer=$(curl --silent --show-error --fail --max-time 20 --get --data-urlencode "query=$query" "$PROMETHEUS_URL/api/v1/query") || answer=
    value=$(sed -n 's/.*"value":\[[0-9.]*,"\([^"]*\)"\].*/\1/p' <<<"$answer")
    if ! [[ $value =~ ^[0-9.eE+-]+$ ]] || ! awk -v value="$value" -v bound="$bound" "BEGIN { exit !(value $comparison bound) }"; then
        outcome=failed failed=1
    fi
    printf '%-7s %s: %s (must be %s %s)\n' "$outcome" "$what" "${value:-no data}" "$comparison" "$bound"
    "$here/evidence.sh" "$item" "$outcome" "make measure" "$what: ${value:-no data}, must be $comparison $bound" >/dev/null
}

measure error-rate 'share of errors' \
    "(sum(rate(${seconds}_count{$routes,http_response_status_code=~\"5..\"}[15m])) or vector(0)) / sum(rate(${seconds}_count{$routes}[15m]))" '<' 0.01
measure latency 'seconds, 95th percentile' \
    "histogram_quantile(0.95, sum by (le) (rate(${seconds}_bucket{$routes}[15m])))" '<' 2.5
completions="maple_completions_total{namespace=\"$environment\""
measure business 'share of completions that came whole' \
    "(sum(rate($completions,outcome=\"completed\"}[15m])) or vector(0)) / (sum(rate($completions,outcome!~\"cancelled|refused\"}[15m])) > 0)" '>' 0.98
exit "$failed"
