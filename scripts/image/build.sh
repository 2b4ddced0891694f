#!/usr/bin/env bash
# `make image`: builds the image as mapleai:<commit>, or as what IMAGE names.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
# shellcheck source=scripts/environment.sh
source "$here/../environment.sh"
# shellcheck source=scripts/jobs.sh
source "$here/../jobs.sh"
# shellcheck source=scripts/image/engine.sh
source "$here/engine.sh"
cd "$MAPLE_ROOT"
on_exit() {
    remove_engine
}
end_jobs_on_exit

find_engine
ensure_bases
revision=$(git rev-parse HEAD)
image=${IMAGE:-mapleai:${revision:0:12}}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
"${docker[@]}" build --network host --tag "$image" \
    --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --build-arg CREATED="$(git show -s --format=%cI HEAD)" .
echo "Built $image"
