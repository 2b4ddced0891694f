#!/usr/bin/env bash
# Ways in which `make run` ends, in each stage of its start: nothing is left, and the next one starts.
#
#   run-ends.sh [STAGE:END...]   these, or `all`; without arguments each stage and each end at least once (stages.sh, endings.sh)
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
# shellcheck source=scripts/ports.sh
source "$MAPLE_ROOT/scripts/ports.sh"
# shellcheck source=scripts/test/weights.sh
source "$MAPLE_ROOT/scripts/test/weights.sh"
# shellcheck source=scripts/test/run-ends/stages.sh
source "$MAPLE_ROOT/scripts/test/run-ends/stages.sh"
# shellcheck source=scripts/test/run-ends/endings.sh
source "$MAPLE_ROOT/scripts/test/run-ends/endings.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler postgres make python curl
make_services_dir
output=$services_dir/make-run
part_file=$services_dir/cache/models/SmolLM2-135M-Instruct.Q4_1.gguf.download.part
passed=0
mark=

# A run that a failure leaves would keep the next suite from starting.
on_exit() {
    local pid
    for pid in $([ -z "$mark" ] || marked); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    stop_services
}
weights_at_hand || true
make_held_cargo
start_slow_mirror

# begin STAGE HOW: `make run` in a session of its own, and waits for the stage. HOW: plain, as a terminal's shell starts it, with Ctrl-C
# taken; terminal, on one of its own; background, as `make run &` in a script that ends; nohup.
begin() {
    mark=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    port=$(random_free_port)
    : >"$output"
    requests_before=$(wc -l <"$mirror_log")
    environment_of_stage "$1"
    local run=(make -C "$MAPLE_ROOT" run) signals=('--default-signal=HUP,INT,QUIT')
    case $2 in
        terminal) run=(script -qfec "make -C '$MAPLE_ROOT' run" /dev/null) ;;
        background)
            run=(bash -c "make -C '$MAPLE_ROOT' run &")
            signals=()
            ;;
        nohup) run=(nohup make -C "$MAPLE_ROOT" run) ;;
    esac
    MAPLE_TEST_MARK=$mark PORT=$port TERM=${terminal_kind:-dumb} \
        setsid env "${signals[@]}" -u DATABASE_URL -u REDIS_URL "${stage_environment[@]}" "${run[@]}" </dev/null >"$output" 2>&1 7>&- &
    disown
    until_true 10 'there is make' find_make
    reach_stage "$1"
}

# The process of make, in $make_pid.
find_make() {
    make_pid=$(marked make)
    [ -n "$make_pid" ]
}

# Processes that were started with the mark and have this name, or all of them but this script's own look at them.
marked() {
    local environ
    for environ in /proc/[0-9]*/environ; do
        if grep -qsz "^MAPLE_TEST_MARK=$mark$" "$environ"; then
            environ=${environ%/environ}
            [ -n "${1:-}" ] && [ "$(cat "$environ/comm" 2>/dev/null)" != "$1" ] || echo "${environ#/proc/}"
        fi
    done
}

nothing_is_left() {
    [ -z "$(marked)" ] && port_is_free "$port" &&
        [[ $(env -u DATABASE_URL "$MAPLE_ROOT/scripts/dev/postgres.sh" status) == "not running"* ]]
}

no_lock_is_held() {
    local lock
    for lock in "$MAPLE_ROOT/.local/postgres.lease" "$services_dir"/cache/models/*.lock; do
        [ ! -e "$lock" ] || flock -n -x "$lock" true || return 1
    done
}

# ended STAGE WHAT SECONDS: fails unless nothing is left within so many seconds.
ended() {
    local deadline=$((SECONDS + $3))
    while ((SECONDS <= deadline)); do
        if nothing_is_left; then
            no_lock_is_held || die "$1, $2: a lock is held"
            ((passed += 1))
            printf 'ok: %s, %s\n' "$1" "$2"
            return
        fi
        sleep 0.1
    done
    local pid
    for pid in $(marked); do
        printf '%s: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" || true)" >&2
    done
    die "$1, $2: $3 s later something is left (the processes above; the port; PostgreSQL)"
}

# try STAGE:END
try() {
    local stage=${1%%:*} end=${1#*:}
    if [[ $stage =~ ^(loading|answering)$ ]] && [ -z "$weights_file" ]; then
        return 0
    fi
    if [[ $end == terminal_closed ]] && ! command -v script >/dev/null; then
        return 0
    fi
    begin "$stage" "$(start_for "$end")"
    "$end"
    ended "$stage" "$end" "$(limit_of "$end")"
}

pairs=("$@")
[ $# -gt 0 ] || pairs=(
    compiling:interrupted compiling:make_killed
    building:interrupted_twice building:terminal_closed
    downloading:make_terminated downloading:script_killed downloading:hung_up_with_nohup
    loading:interrupted loading:server_killed
    answering:make_killed answering:terminated_in_background
)
if [ "${pairs[0]}" = all ]; then
    pairs=()
    ends=(interrupted interrupted_twice terminal_closed make_terminated make_killed script_killed server_killed
        terminated_in_background hung_up_with_nohup)
    for stage in compiling building downloading loading answering; do
        for end in "${ends[@]}"; do
            [ "$stage:$end" = compiling:server_killed ] || pairs+=("$stage:$end")
        done
    done
fi
for pair in "${pairs[@]}"; do
    try "$pair"
done

# Every run that fetched after the first went on from where that ended.
if [ "$(wc -l <"$mirror_log")" -gt 1 ]; then
    [ "$(tail -n +2 "$mirror_log" | grep -cx 0)" -eq 0 ] || die "a download began anew: $(tr '\n' ' ' <"$mirror_log")"
    ((passed += 1))
    echo 'ok: a download goes on from where the run before it ended'
fi

if [ $# -eq 0 ] && command -v script >/dev/null; then
    terminal_kind=xterm
    export NO_COLOR=1
    begin downloading terminal
    ! grep -q $'\e' "$output" || die "with NO_COLOR there is an escape sequence: $(grep $'\e' "$output" | head -n 3 | cat -v)"
    ((passed += 1))
    echo 'ok: no escape sequence with NO_COLOR'
    make_terminated
    ended 'downloading on a terminal' make_terminated 10
fi
printf '\n%s passed, 0 failed\n' "$passed"
