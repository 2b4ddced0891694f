# shellcheck shell=bash
# Sourced (after jobs.sh): named steps that are timed and all run, whatever became of the ones before.

phase_lines=()
phase_failed=
# A folder, when set, keeps what each phase printed in a file of the phase's name.
phase_logs=
# Seconds that one may take. The longest takes 15 minutes on two cores; something that hangs is to be told before a runner gives up.
phase_limit=${PHASE_LIMIT:-3600}

# phase NAME COMMAND...
phase() {
    local name=$1 began=$SECONDS status=0
    shift
    printf '\n=== %s\n' "$name"
    if [ -n "$phase_logs" ]; then
        start_job "$@" > >(tee -i "$phase_logs/$name") 2>&1
    else
        start_job "$@"
    fi
    wait_job "${started_job:?}" "$phase_limit" || status=$?
    if [ "$status" -eq 0 ]; then
        phase_lines+=("$(printf '%-14s ok      %4d s' "$name" $((SECONDS - began)))")
    else
        phase_lines+=("$(printf '%-14s FAILED  %4d s (status %d)' "$name" $((SECONDS - began)) "$status")")
        phase_failed=yes
    fi
}

# Prints the table of phases.
report_phases() {
    # `tee` may still be writing the last lines of the last phase.
    sleep 0.2
    printf '\n'
    printf '%s\n' "${phase_lines[@]}"
}

# 1 if any phase failed.
phases_passed() {
    [ -z "$phase_failed" ]
}
