#!/usr/bin/env bash
# `make model-image-test`: builds the image of the small model, which compose.yaml runs beside MapleAI, and runs it. Not a part of
# `make image-test`: building it takes minutes, and it needs the model's file, which `make run` or `local-model fetch` fetches.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/../test/suite.sh"
# shellcheck source=scripts/image/engine.sh
source "$MAPLE_ROOT/scripts/image/engine.sh"

# shellcheck disable=SC2329 # called on the way out
on_exit() {
    remove_engine
}

file=${LOCAL_MODEL:-$MAPLE_CACHE/models/SmolLM2-135M-Instruct.Q4_1.gguf}
[ -f "$file" ] || die "$file is not there: \`make run\` fetches it, and LOCAL_MODEL=PATH names another one"
find_engine
ensure_bases
image=${IMAGE:-mapleai-local-model:test}
"${docker[@]}" build --network host --target local-model --tag "$image" .
venv=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements.txt)
MAPLE_IMAGE=$image MAPLE_DOCKER=${docker[0]} MAPLE_MODEL_FILE=$file PYTHONDONTWRITEBYTECODE=1 \
    run_job "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir tests/delivery tests/delivery/test_local_model_image.py
