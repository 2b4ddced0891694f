# shellcheck shell=bash
# Sourced by run-ends.sh: brings `make run` to a stage of its start and holds it there.
#
#   compiling    MapleAI is being built
#   building     MapleAI serves; the model's program is being built
#   downloading  the model's file comes slowly, from a mirror of the test's own
#   loading      the model's file is being read (needs the weights)
#   answering    the model writes an answer (needs the weights)

# A cargo for the first two: it begins a build that takes longer than any test, by a process of its own as the real one does.
make_held_cargo() {
    held_cargo=${services_dir:?}/held
    mkdir "$held_cargo"
    cat >"$held_cargo/cargo" <<'END'
#!/usr/bin/env bash
if [[ $* == *"$HELD_BUILD"* ]]; then
    echo held >>"$HELD_LOG"
    sleep 600
    exit
fi
PATH=${PATH#*:}
exec cargo "$@"
END
    chmod +x "$held_cargo/cargo"
}

start_slow_mirror() {
    mirror_log=$services_dir/mirror
    : >"$mirror_log"
    start_job python3 "$MAPLE_ROOT/scripts/test/run-ends/slow_mirror.py" "$mirror_log" >"$services_dir/mirror-port"
    until_true 10 "the mirror's port" test -s "$services_dir/mirror-port"
    mirror=http://127.0.0.1:$(<"$services_dir/mirror-port")/model.gguf
}

# until_true SECONDS WHAT COMMAND...
until_true() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    while ! "$@" 2>/dev/null; do
        ((SECONDS <= deadline)) || { tail -n 40 "${output:?}" >&2; die "not within time: $what"; }
        sleep 0.1
    done
}

state_is() {
    grep -q "\"state\":\"$1\"" "$MAPLE_ROOT/.local/model-state.json"
}

# Variables of `make run` for a stage, in $stage_environment.
environment_of_stage() {
    # Other stages' files must not be found.
    stage_environment=(LOCAL_MODEL= "MAPLE_CACHE=$services_dir/cache" "LOCAL_MODEL_URL=$mirror" HELD_LOG="$services_dir/held-builds")
    : >"$services_dir/held-builds"
    case $1 in
        compiling) stage_environment+=("PATH=$held_cargo:$PATH" HELD_BUILD='--bin mapleai') ;;
        building) stage_environment+=("PATH=$held_cargo:$PATH" HELD_BUILD='--bin local-model') ;;
        loading | answering) stage_environment+=(LOCAL_MODEL="${weights_file:?}") ;;
    esac
}

reach_stage() {
    case $1 in
        compiling) until_true 60 'MapleAI is built' test -s "$services_dir/held-builds" ;;
        building)
            until_true 120 'MapleAI serves' grep -q 'MapleAI is ready' "$output"
            until_true 60 "the model's program is built" test -s "$services_dir/held-builds"
            ;;
        downloading) until_true 300 'a part of the file is there' downloading_on ;;
        loading) until_true 300 'the model is loaded' state_is loading ;;
        answering)
            until_true 300 'the model is ready' state_is ready
            ask_for_long_answer
            ;;
    esac
}

# Of this run, not of one before.
downloading_on() {
    state_is downloading && [ "$(wc -l <"$mirror_log")" -gt "${requests_before:?}" ] && [ -s "${part_file:?}" ]
}

# A first piece of it has come when this returns.
ask_for_long_answer() {
    local base=http://127.0.0.1:${port:?} password token answer=$services_dir/answer
    password=$(sed -nE 's#.*Sign in with: +demo@maple\.example / ([A-Za-z0-9]+).*#\1#p' "$output")
    token=$(curl -sS --noproxy '*' --max-time 10 --json "{\"email\": \"demo@maple.example\", \"password\": \"$password\"}" "$base/api/auth/login" |
        sed -nE 's/.*"access_token":"([^"]*)".*/\1/p')
    : >"$answer"
    start_job curl -sSN --noproxy '*' --max-time 120 -H "Authorization: Bearer $token" --json \
        '{"model": "smollm2-135m", "stream": true, "max_tokens": 1000, "messages": [{"role": "user", "content": "Count from 1 to 1000."}]}' \
        "$base/v1/chat/completions" >"$answer" 2>/dev/null
    until_true 60 'an answer is written' grep -q '"content":"[^"]' "$answer"
}
