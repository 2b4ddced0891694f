# shellcheck shell=bash
# Sourced: long-running children that never outlive the script.
#
# bash runs no trap while a foreground child runs, and a background child without job control ignores Ctrl-C. So each
# job gets a process group of its own and is waited for; the traps pass signals on, once.

jobs_running=()

# Ends the script's jobs on every way out. Extra clean-up goes into a function named `on_exit`, which gets the status.
end_jobs_on_exit() {
    trap 'leave $?' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
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

# Starts a command in a process group of its own; its id is in $started_job. Descriptor 9 is the database lease, which
# must end with the script and not with a child.
start_job() {
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
    "${guard[@]}" "$@" </dev/null 9>&- &
    started_job=$!
    set +m
    jobs_running+=("$started_job")
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
        ) </dev/null >/dev/null 2>&1 9>&- &
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
    for job in "${jobs_running[@]}"; do
        [ "$job" = "$1" ] || kept+=("$job")
    done
    jobs_running=("${kept[@]}")
}
