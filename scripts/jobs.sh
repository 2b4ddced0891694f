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
    set -m
    "${guard[@]}" "$@" </dev/null 9>&- &
    started_job=$!
    set +m
    jobs_running+=("$started_job")
}

# Waits for a job and returns its status.
wait_job() {
    local status=0
    wait "$1" || status=$?
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
