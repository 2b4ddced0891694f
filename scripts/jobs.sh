# shellcheck shell=bash
# Sourced: long-running children that never outlive the script.
#
# bash runs no trap while a foreground child runs, and a background child without job control ignores Ctrl-C. So each
# job gets a process group of its own and is waited for; the traps pass signals on, once.

jobs_running=()
jobs_guarded=

# Ends the script's jobs on every way out. Extra clean-up goes into a function named `on_exit`, which gets the status.
end_jobs_on_exit() {
    trap 'leave $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# Called first by what `make` runs for long: `make` that is killed takes the script along. The script is started anew with that
# request to the kernel, which knows of no other parent: one that `nohup` or a shell has started goes on when that ends.
end_with_make() {
    if [ -n "${MAPLE_ENDS_WITH_MAKE:-}" ]; then
        unset MAPLE_ENDS_WITH_MAKE
        # Killed before the request was made.
        parent_is_make || exit 143
    elif parent_is_make && setpriv --pdeathsig TERM true 2>/dev/null; then
        MAPLE_ENDS_WITH_MAKE=yes exec setpriv --pdeathsig TERM -- "$0" "$@"
    fi
}

parent_is_make() {
    local name
    name=$(cat "/proc/$PPID/comm" 2>/dev/null || true)
    [[ $name =~ ^g?make$ ]]
}

leave() {
    trap - EXIT
    # A second Ctrl-C during the clean-up must not skip the rest of it.
    trap '' INT TERM HUP
    local job
    for job in "${jobs_running[@]}"; do
        stop_job "$job"
    done
    if declare -F on_exit >/dev/null; then
        on_exit "$1" || true
    fi
    exit "$1"
}

# A process that outlives this script only to end its jobs, should it be killed. It knows of the script's end by descriptor 7.
guard_jobs() {
    [ -z "$jobs_guarded" ] || return 0
    jobs_guarded=yes
    local session=()
    # Ctrl-C and the end of the terminal are for the script.
    if command -v setsid >/dev/null; then
        session=(setsid)
    fi
    if [ -t 0 ]; then
        exec 6<&0
    else
        exec 6</dev/null
    fi
    exec 7> >(exec "${session[@]}" "$MAPLE_ROOT/scripts/job-guard.sh" "$$" 3<&6 6<&- >/dev/null 2>&1 9>&-)
    exec 6<&-
}

# Starts a command in a process group of its own; its id is in $started_job. Descriptor 9 is the database lease, which
# must end with the script and not with a child; so must 7.
start_job() {
    guard_jobs
    local guard=()
    # The kernel ends the child even when this script is killed without a chance to clean up.
    if setpriv --pdeathsig TERM true 2>/dev/null; then
        guard=(setpriv --pdeathsig TERM --)
    fi
    # Started with `nohup make test &`, as some runners do, this script ignores Ctrl-C and so would all that it starts; bash cannot
    # take that back for a child (POSIX, "Signals and Error Handling" of the shell), `env` can.
    if env --default-signal=INT,QUIT true 2>/dev/null; then
        guard+=(env '--default-signal=INT,QUIT')
    fi
    set -m
    "${guard[@]}" "$@" </dev/null 7>&- 9>&- &
    started_job=$!
    set +m
    jobs_running+=("$started_job")
    tell_guard start "$started_job"
}

# wait_job JOB [SECONDS]: waits for a job and returns its status. One that takes longer is ended, which is 124.
wait_job() {
    local status=0 watch=
    if [ -n "${2:-}" ]; then
        set -m
        (
            sleep "$2"
            kill -TERM -- "-$1"
            sleep 10
            kill -KILL -- "-$1"
        ) </dev/null >/dev/null 2>&1 7>&- 9>&- &
        watch=$!
        set +m
        local began=$SECONDS
    fi
    wait "$1" || status=$?
    if [ -n "$watch" ]; then
        kill -KILL -- "-$watch" 2>/dev/null || true
        wait "$watch" 2>/dev/null || true
        if ((SECONDS - began >= $2)); then
            echo "ended after $2 s" >&2
            status=124
        fi
    fi
    forget_job "$1"
    return "$status"
}

# Runs a command to its end as a job and returns its status.
run_job() {
    start_job "$@"
    wait_job "$started_job"
}

job_is_running() {
    kill -0 "$1" 2>/dev/null
}

# Asks the job's whole group to stop, and insists after $2 seconds (20 unless told).
stop_job() {
    local tenths=$((${2:-20} * 10))
    kill -TERM -- "-$1" 2>/dev/null || true
    while job_is_running "$1" && ((tenths-- > 0)); do
        sleep 0.1
    done
    kill -KILL -- "-$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
    forget_job "$1"
}

forget_job() {
    local job kept=()
    tell_guard end "$1"
    for job in "${jobs_running[@]}"; do
        [ "$job" = "$1" ] || kept+=("$job")
    done
    jobs_running=("${kept[@]}")
}

# A guard that was killed is missed only by a script that is.
tell_guard() {
    (trap '' PIPE && echo "$1 $2" >&7) 2>/dev/null || true
}
