# shellcheck shell=bash
# Sourced by run-ends.sh: ways in which a person, a terminal or a runner ends `make run`.

# How `make run` is started for an end.
start_for() {
    case $1 in
        terminal_closed) echo terminal ;;
        terminated_in_background) echo background ;;
        hung_up_with_nohup) echo nohup ;;
        *) echo plain ;;
    esac
}

# Seconds that an end may take: who is killed cleans nothing up, and others have to notice.
limit_of() {
    case $1 in
        *_killed) echo 30 ;;
        *) echo 10 ;;
    esac
}

# What a terminal's Ctrl-C reaches: all that is in make's own group.
interrupted() {
    kill -INT -- "-$(group_of_make)"
}

interrupted_twice() {
    local group
    group=$(group_of_make)
    kill -INT -- "-$group"
    sleep 0.2
    kill -INT -- "-$group" 2>/dev/null || true
}

terminal_closed() {
    local terminal=${make_pid:?}
    while [ "$(cat "/proc/$terminal/comm")" != script ]; do
        terminal=$(parent_of "$terminal")
    done
    kill -KILL "$terminal"
}

make_terminated() {
    kill -TERM "$make_pid"
}

make_killed() {
    kill -KILL "$make_pid"
}

script_killed() {
    local pid
    for pid in $(marked); do
        [ "$(parent_of "$pid")" != "$make_pid" ] || kill -KILL "$pid"
    done
}

server_killed() {
    kill -KILL "$(marked mapleai)"
}

terminated_in_background() {
    make_terminated
}

# Started with `nohup`, it outlives its terminal, and ends as it does otherwise.
hung_up_with_nohup() {
    kill -HUP -- "-$(group_of_make)"
    sleep 1
    [ -d "/proc/$make_pid" ] || die "make run with nohup ended with its terminal"
    make_terminated
}

group_of_make() {
    cut -d' ' -f5 "/proc/$make_pid/stat"
}

parent_of() {
    cut -d' ' -f4 "/proc/$1/stat" 2>/dev/null || true
}
