#!/bin/sh
# The entry of Prometheus in compose.yaml. The cluster's rules are custom resources, of which Prometheus itself reads only what
# is under `spec`: that is taken out of each, and then this becomes Prometheus, with the arguments given.
#
# For busybox: that is what the image has. The variables are there for tests/k8s/test_compose.py.
set -eu

from=${RULES_FROM:-/etc/prometheus/cluster} to=${RULES_TO:-/tmp/rules}
mkdir -p "$to"
for file in "$from"/*.yaml; do
    sed -e '1,/^spec:$/d' -e 's/^  //' "$file" >"$to/${file##*/}"
done
exec "${PROMETHEUS:-/bin/prometheus}" "$@"
