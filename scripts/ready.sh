# shellcheck shell=bash
# Sourced: waiting for a started MapleAI. Plain bash, since a fresh machine has no curl.

# The status that GET $2 on port $1 answers, or nothing.
http_status() {
    local line=
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
    read -r -t 3 line <&3 || true
    exec 3>&-
    line=${line#HTTP/1.1 }
    echo "${line%% *}"
}

# Waits until the job $2 answers 200 to /api/ready on port $1, at most $3 seconds. 1: not in time; 2: the job has ended.
wait_until_ready() {
    local deadline=$((SECONDS + $3))
    while ((SECONDS < deadline)); do
        kill -0 "$2" 2>/dev/null || return 2
        if [ "$(http_status "$1" /api/ready 2>/dev/null)" = 200 ]; then
            return 0
        fi
        sleep 0.2
    done
    return 1
}
