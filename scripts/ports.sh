# shellcheck shell=bash
# Sourced: which TCP ports of this machine are free.

port_is_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The first free port from $1 on.
next_free_port() {
    local port
    for ((port = $1; port < $1 + 500; port++)); do
        if port_is_free "$port"; then
            echo "$port"
            return
        fi
    done
    echo "error: no free port between $1 and $((port - 1))" >&2
    return 1
}

# Below the range that the kernel hands to clients, at a random place, so that parallel runs seldom meet.
random_free_port() {
    next_free_port $((20000 + RANDOM % 12000))
}
