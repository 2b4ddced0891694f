#!/usr/bin/env bash
# `make run` as a newcomer meets it: it gets ready, says how to sign in, uses a Redis, and Ctrl-C ends all of it with 0.
set -euo pipefail
# shellcheck source=scripts/test/suite.sh
source "$(dirname "${BASH_SOURCE[0]}")/suite.sh"
# shellcheck source=scripts/ports.sh
source "$MAPLE_ROOT/scripts/ports.sh"

"$MAPLE_ROOT/scripts/dev/install.sh" compiler postgres redis curl
make_services_dir
port=$(random_free_port)
output=$services_dir/make-run
base=http://127.0.0.1:$port

# ask NEEDLE WHAT CURL-ARGUMENTS...: fails unless the answer has NEEDLE.
ask() {
    local needle=$1 what=$2 answer
    shift 2
    answer=$(curl --silent --show-error --noproxy '*' --max-time 10 "$@") || die "$what: no answer"
    [[ $answer == *"$needle"* ]] || die "$what: $answer has no $needle"
    echo "ok: $what"
}

# A model server that the newcomer runs already.
start_page_upstream

# Not of this shell's environment: the suite's own servers are not the newcomer's.
start_job env -u DATABASE_URL -u REDIS_URL LOCAL_MODEL=off PORT="$port" MAPLE__LOCAL__SERVERS="ollama=$upstream_port" \
    "$MAPLE_ROOT/scripts/dev/run.sh" >"$output" 2>&1
run=$started_job
for ((tries = 1200; ; tries--)); do
    ! grep -q 'Stop with Ctrl-C' "$output" || break
    if ((tries == 0)) || ! job_is_running "$run"; then
        tail -n 40 "$output" >&2
        die "make run did not get ready"
    fi
    sleep 0.5
done
password=$(sed -nE 's#.*Sign in with: +demo@maple\.example / ([A-Za-z0-9]+)$#\1#p' "$output")
[ -n "$password" ] || die "it does not say how to sign in"
grep -Eq "Also found: +Ollama \\(port $upstream_port\\): 2 models" "$output" || die "it does not tell of the model server beside it"
echo "ok: the model server beside it"
ask '"told (on this machine)"' 'its models' "$base/api/models"
ask '"status":"ready"' 'readiness' "$base/api/ready"
ask '"access_token"' 'the demo account' --json "{\"email\": \"demo@maple.example\", \"password\": \"$password\"}" \
    "$base/api/auth/login"
ask '"redis_connection"' 'the Redis it has started' "$base/api/health"
ask '"status":"pass"' 'health' "$base/api/health"

# As a terminal does it: to the whole group.
kill -INT -- "-$run"
status=0
wait_job "$run" 60 || status=$?
[ "$status" -eq 0 ] || { tail -n 40 "$output" >&2; die "Ctrl-C ended it with $status"; }
port_is_free "$port" || die "something still listens on $port"
echo "ok: Ctrl-C"
printf '\n7 passed, 0 failed\n'
