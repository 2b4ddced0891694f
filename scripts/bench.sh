#!/usr/bin/env bash
# Measures what going through MapleAI costs: builds it for release, starts a private PostgreSQL for the run, and
# hands over to crates/bench, whose options this script takes (`scripts/bench.sh --help`).
#
# Always its own database server: a run writes hundreds of thousands of usage records, which belong in nobody's
# database. Its durability settings are PostgreSQL's defaults, so that writing those records costs what it costs.
set -euo pipefail
cd "$(dirname "$0")/.."

export BENCH_GATEWAY_CORE="${BENCH_GATEWAY_CORE:-0}"
export BENCH_LOAD_CORE="${BENCH_LOAD_CORE:-1}"

fail() {
  printf 'bench: %s\n' "$1" >&2
  exit 1
}

databases=0
wants_database=yes
wants_reference=yes
network=loopback
previous=''
for argument in "$@"; do
  case "$argument" in
    --gateway-bin | --gateway-bin=*) databases=$((databases + 1)) ;;
    --no-gateway) wants_database=no ;;
    --serve-upstream | --serve-upstream=* | --help | -h) wants_database=no wants_reference=no ;;
    --no-yardsticks | --profile) wants_reference=no ;;
    --network=*) network="${argument#*=}" ;;
  esac
  [ "$previous" != --network ] || network="$argument"
  previous="$argument"
done
# Of this run, which takes them away if the bench cannot any more.
export BENCH_NAMESPACES="mapleai-bench-$$"
# Built before anything is started, so that no server waits for the compiler. Both what is measured and the reference proxy have
# the flags of a release, and a profile of their own from `make profile`, if there is one.
if [ "$wants_reference" = yes ] && [ -z "${BENCH_REFERENCE_BIN:-}" ]; then
  BENCH_REFERENCE_BIN="${CARGO_TARGET_DIR:-target}/reference/release/reference-proxy"
  (
    # shellcheck disable=SC2030 # of this build alone
    PROFILE_OF=reference-proxy
    # shellcheck source=scripts/release-flags.sh
    source scripts/release-flags.sh
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/reference" cargo build --release --locked --package reference-proxy
  )
  export BENCH_REFERENCE_BIN
fi
# shellcheck source=scripts/release-flags.sh
source scripts/release-flags.sh
if [ "$wants_database" = yes ] && [ "$databases" = 0 ]; then
  cargo build --release --locked --bin mapleai
  set -- --gateway-bin "mapleai=${CARGO_TARGET_DIR:-target}/release/mapleai" "$@"
fi
# The bench itself is not what is measured: neither the profile nor whatever else the caller wants of MapleAI's build is for it.
program="${BENCH_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/bench-program}"
env -u RUSTFLAGS CARGO_TARGET_DIR="$program" cargo build --profile bench --locked --package mapleai-bench
program="$program/release/mapleai-bench"

if [ "$wants_database" = no ]; then
  "$program" "$@"
  exit
fi

[ "$databases" -gt 0 ] || databases=1
# Three more for the variants of the first build.
databases=$((databases + 3))

command -v taskset >/dev/null || fail 'taskset is missing: apt-get install util-linux'

# shellcheck source=scripts/dev/postgres-binaries.sh
source scripts/dev/postgres-binaries.sh
bin="$(find_postgres "")" || fail 'PostgreSQL 14 or newer is missing: apt-get install postgresql'

work="$(mktemp -d)"
data="$work/data"

# initdb and postgres refuse to run as root, so there they run as another user.
if [ "$(id -u)" = 0 ]; then
  owner=postgres
  id "$owner" >/dev/null 2>&1 || owner=nobody
  chown "$owner" "$work"
  as_owner() { runuser -u "$owner" -- "$@"; }
else
  as_owner() { "$@"; }
fi

stop() {
  [ -z "${redis_pid:-}" ] || kill "$redis_pid" 2>/dev/null || true
  if [ -f "$data/postmaster.pid" ]; then
    as_owner "$bin/pg_ctl" -D "$data" -m fast -w -t 30 stop >/dev/null || true
  fi
  rm -rf "$work"
  for namespace in "$BENCH_NAMESPACES-load" "$BENCH_NAMESPACES-gateway"; do
    [ ! -e "/run/netns/$namespace" ] || ip netns delete "$namespace" || true
  done
}
trap stop EXIT

password="$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
printf '%s\n' "$password" >"$work/password"
chmod 644 "$work/password"
(cd "$work" && as_owner "$bin/initdb" -D "$data" -U bench --auth=scram-sha-256 --pwfile="$work/password" \
  --encoding=UTF8 --locale=C >"$work/initdb.log") || { cat "$work/initdb.log" >&2; fail 'initdb failed'; }

started=no
for _ in 1 2 3 4 5; do
  port=$((20000 + RANDOM % 20000))
  if (cd "$work" && as_owner taskset -c "$BENCH_LOAD_CORE" "$bin/pg_ctl" -D "$data" -w -t 30 -l "$data/log" \
    -o "-p $port -h 127.0.0.1 -k $work" start >/dev/null); then
    started=yes
    break
  fi
done
[ "$started" = yes ] || { cat "$data/log" >&2; fail 'PostgreSQL did not start'; }

# A gateway in a network namespace of its own finds the database by its socket, and no Redis.
address="127.0.0.1:$port" socket=''
[ "$network" != veth ] || address=localhost socket="?host=$work&port=$port"
urls=''
for ((number = 1; number <= databases; number++)); do
  PGPASSWORD="$password" "$bin/createdb" -h 127.0.0.1 -p "$port" -U bench "bench_$number"
  urls="$urls postgres://bench:$password@$address/bench_$number$socket"
done
export BENCH_DATABASE_URLS="${urls# }"
BENCH_POSTGRES_PID="$(head -n 1 "$data/postmaster.pid")"
export BENCH_POSTGRES_PID

if [ -z "${BENCH_REDIS_URL:-}" ]; then
  command -v redis-server >/dev/null || fail 'Redis is missing: apt-get install redis-server, or set BENCH_REDIS_URL'
  redis_port=$((20000 + RANDOM % 20000))
  taskset -c "$BENCH_LOAD_CORE" redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --appendonly no \
    --maxmemory 256mb --maxmemory-policy allkeys-lru --dir "$work" >"$work/redis.log" &
  redis_pid=$!
  for ((tries = 50; ; tries--)); do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$redis_port") 2>/dev/null || break
    if ((tries == 0)) || ! kill -0 "$redis_pid" 2>/dev/null; then
      cat "$work/redis.log" >&2
      fail 'Redis did not start'
    fi
    sleep 0.1
  done
  export BENCH_REDIS_URL="redis://127.0.0.1:$redis_port"
fi

# shellcheck disable=SC2031 # set above, outside of every subshell
"$program" "$@"
