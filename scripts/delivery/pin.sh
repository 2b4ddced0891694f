#!/usr/bin/env bash
# pin.sh ENVIRONMENT IMAGE@sha256:DIGEST: writes the image into k8s/<environment>, and the migration Job's name after it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"

[ $# -eq 2 ] || die "usage: pin.sh staging|production IMAGE@sha256:DIGEST"
case $1 in staging | production) ;; *) die "there is no environment '$1'; there are staging and production" ;; esac
folder=${KUSTOMIZE_FOLDER:-$MAPLE_ROOT/k8s/$1}
[ -f "$folder/kustomization.yaml" ] || die "$folder has no kustomization.yaml"
[[ $2 =~ ^([a-z0-9./:_-]+)@sha256:([0-9a-f]{64})$ ]] || die "'$2' is no image by digest, such as registry.example/mapleai@sha256:<64 digits>"
name=${BASH_REMATCH[1]} digest=${BASH_REMATCH[2]}
[[ $digest =~ [1-9a-f] ]] || die "'$2' is the placeholder of the repository, not an image"
sed -i -E -e "s#^( *newName: ).*#\\1$name#" -e "s#^( *digest: ).*#\\1sha256:$digest#" \
    -e "s#(value: mapleai-migrate-)[0-9a-f]{12}#\\1${digest:0:12}#" "$folder/kustomization.yaml"
grep -q "digest: sha256:$digest" "$folder/kustomization.yaml" || die "$folder/kustomization.yaml names no image"
grep -q "mapleai-migrate-${digest:0:12}" "$folder/kustomization.yaml" || die "$folder/kustomization.yaml names no migration"
echo "$folder: $name@sha256:${digest:0:12}..."
