#!/usr/bin/env bash
# Started by jobs.sh, in a session of its own: ends what a script has left running when that was killed and could end nothing.
# Reads "start GROUP" and "end GROUP" from standard input, whose end is that of the script. Descriptor 3 is the script's terminal, if
# it has one: `make` that is a terminal's first process keeps to itself that this was closed, so the script is told from here.
#
#   job-guard.sh PROCESS-OF-THE-SCRIPT
set -euo pipefail
trap '' INT TERM HUP

declare -A left=()
wait=()
[ ! -t 3 ] || wait=(-t 1)
while true; do
    status=0
    read -r "${wait[@]}" what group || status=$?
    if ((status > 128)); then
        if [ ! -t 3 ]; then
            wait=()
            kill -HUP "$1" 2>/dev/null || true
        fi
    elif ((status > 0)); then
        break
    elif [ "$what" = start ]; then
        left[$group]=yes
    else
        unset "left[$group]"
    fi
done

for group in "${!left[@]}"; do
    kill -TERM -- "-$group" 2>/dev/null || unset "left[$group]"
done
# As long as MapleAI needs to end calls in progress, in tenths of a second.
for ((tenths = 100; tenths > 0 && ${#left[@]} > 0; tenths--)); do
    sleep 0.1
    for group in "${!left[@]}"; do
        kill -0 -- "-$group" 2>/dev/null || unset "left[$group]"
    done
done
for group in "${!left[@]}"; do
    kill -KILL -- "-$group" 2>/dev/null || true
done
