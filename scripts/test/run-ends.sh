#!/usr/bin/env bash
# Ways in which `make run` ends, while the model's program is being built beside it: nothing is left, and the next one starts.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
# shellcheck source=scripts/ports.sh
source "$MAPLE_ROOT/scripts/ports.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler postgres make
make_services_dir
output=$services_dir/make-run
passed=0

# Processes that were started with the mark, but for this script's own look at them.
marked() {
    local environ
    for environ in /proc/[0-9]*/environ; do
        if grep -qsz "^MAPLE_TEST_MARK=$mark$" "$environ"; then
            environ=${environ#/proc/}
            echo "${environ%/environ}"
        fi
    done
}

# The process of run.sh, as the kernel's child of make.
script_of_make() {
    local pid
    for pid in $(marked); do
        if [ "$(cut -d' ' -f4 "/proc/$pid/stat" 2>/dev/null)" = "$make_pid" ]; then
            echo "$pid"
            return
        fi
    done
}

# begin COMMAND...: `make run` in a session of its own, as a terminal gives it; waits until it is ready. What a script starts beside itself
# ignores Ctrl-C, what a terminal starts does not.
begin() {
    mark=$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    port=$(random_free_port)
    : >"$output"
    MAPLE_TEST_MARK=$mark PORT=$port TERM=dumb \
        setsid env --default-signal=INT,QUIT -u DATABASE_URL -u REDIS_URL -u LOCAL_MODEL "$@" </dev/null >"$output" 2>&1 7>&- &
    disown
    local tries
    for ((tries = 1200; tries > 0; tries--)); do
        ! grep -q 'MapleAI is ready' "$output" || break
        sleep 0.5
    done
    ((tries > 0)) || { tail -n 40 "$output" >&2; die "make run did not get ready"; }
    make_pid=
    local pid
    for pid in $(marked); do
        [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != make ] || make_pid=$pid
    done
    [ -n "$make_pid" ] || die "there is no make"
}

# ended WHAT SECONDS: fails unless nothing is left within so many seconds.
ended() {
    local tenths=$(($2 * 10)) left=
    while ((tenths-- > 0)); do
        left=$(marked)
        if [ -z "$left" ] && port_is_free "$port" &&
            [[ $(env -u DATABASE_URL "$MAPLE_ROOT/scripts/dev/postgres.sh" status) == "not running"* ]]; then
            ((passed += 1))
            echo "ok: $1"
            return
        fi
        sleep 0.1
    done
    local pid
    for pid in $left; do
        printf '%s: %s\n' "$pid" "$(tr '\0' ' ' <"/proc/$pid/cmdline" || true)" >&2
        kill -KILL "$pid" 2>/dev/null || true
    done
    die "$1: $2 s later something is left (the processes above; the port; PostgreSQL)"
}

# To all that a terminal would reach: what is in make's own group.
group_of_make() {
    cut -d' ' -f5 "/proc/$make_pid/stat"
}

start=(make -C "$MAPLE_ROOT" run)
begin "${start[@]}"
kill -INT -- "-$(group_of_make)"
ended 'Ctrl-C' 10

begin "${start[@]}"
group=$(group_of_make)
kill -INT -- "-$group"
sleep 0.2
kill -INT -- "-$group" 2>/dev/null || true
ended 'Ctrl-C twice' 10

begin "${start[@]}"
kill -TERM "$make_pid"
ended 'TERM to make' 10

begin "${start[@]}"
kill -KILL "$make_pid"
ended 'KILL to make' 30

begin "${start[@]}"
kill -KILL "$(script_of_make)"
ended 'KILL to the script' 30

if command -v script >/dev/null; then
    begin script -qfec "make -C '$MAPLE_ROOT' run" /dev/null
    terminal=$(cut -d' ' -f4 "/proc/$make_pid/stat")
    while [ "$(cat "/proc/$terminal/comm")" != script ]; do
        terminal=$(cut -d' ' -f4 "/proc/$terminal/stat")
    done
    kill -KILL "$terminal"
    ended 'a terminal that is closed' 10

    begin env NO_COLOR=1 TERM=xterm script -qfec "make -C '$MAPLE_ROOT' run" /dev/null
    ! grep -q $'\e' "$output" || die "with NO_COLOR there is an escape sequence: $(grep $'\e' "$output" | head -n 3 | cat -v)"
    ((passed += 1))
    echo 'ok: no escape sequence with NO_COLOR'
    kill -TERM "$make_pid"
    ended 'TERM to make on a terminal' 10
fi
printf '\n%s passed, 0 failed\n' "$passed"
