# shellcheck shell=bash
# Sourced by run.sh and dev.sh (after jobs.sh): a small model on this machine, which answers in place of canned text.
#
#   LOCAL_MODEL      unset: SmolLM2 135M, fetched once; a path: that GGUF file; off: no model
#   LOCAL_MODEL_URL  a mirror of the file
#
# MapleAI and its person know of the model by a state file; whatever becomes of the model, MapleAI serves.

local_model_state=$MAPLE_ROOT/.local/model-state.json
local_model_wanted=

# Before the server starts, which reads the state file from then on.
announce_local_model() {
    LOCAL_MODEL=${LOCAL_MODEL:-$(from_env_local LOCAL_MODEL)}
    rm -f "$local_model_state"
    if [ "$MAPLE_ENV" != development ] || [ "$LOCAL_MODEL" = off ]; then
        return 0
    fi
    local_model_wanted=yes
    mkdir -p "$(dirname "$local_model_state")"
    (umask 077 && echo '{"state":"building"}' >"$local_model_state")
    export MAPLE__PROVIDERS__LOCAL__KIND=local MAPLE__PROVIDERS__LOCAL__STATE_FILE=$local_model_state
}

# After the server has been announced: builds and runs the model's own program beside it.
start_local_model() {
    [ -n "$local_model_wanted" ] || return 0
    local_model_wanted=
    start_job env LOCAL_MODEL="$LOCAL_MODEL" "$MAPLE_ROOT/scripts/dev/local-model-job.sh" "$local_model_state"
}

# On the way out: MapleAI that somebody else starts later must not believe in it.
forget_local_model() {
    rm -f "$local_model_state"
}
