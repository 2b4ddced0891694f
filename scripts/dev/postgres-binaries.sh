# shellcheck shell=bash
# Sourced: where this machine's PostgreSQL server programs are.

# Prints "MAJOR DIRECTORY" of each complete server of version 14 or newer, newest first. `initdb` and `postgres` must
# come from one directory: a stray `postgres` on the PATH may be something else entirely.
postgres_servers() {
    local dir version
    {
        type -aP initdb | while read -r program; do dirname "$(readlink -f "$program")"; done || true
        printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin
    } | sort -u | while read -r dir; do
        [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/pg_ctl" ] && [ -x "$dir/psql" ] || continue
        version=$("$dir/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p') || continue
        if [ -n "$version" ] && [ "$version" -ge 14 ]; then
            echo "$version $dir"
        fi
    done | sort -rn
}

# Prints the directory of the newest server, or of the newest of major version $1.
find_postgres() {
    local found
    found=$(postgres_servers | awk -v major="${1:-}" '!found && (major == "" || $1 == major) { print $2; found = 1 }')
    [ -n "$found" ] && echo "$found"
}
