#!/usr/bin/env bash
# Says whether a deployed MapleAI does its work: waits until it is ready, looks at its health, signs in, asks a model twice and
# once as a stream, signs out, and reads the metrics. Needs bash 5, curl and coreutils, so that it runs wherever a pipeline does.
#
# Every step prints `ok   <step> (<ms> ms)` or `FAIL <step>: <what was expected, what came>`; `note` and `skip` are no failures.
set -euo pipefail

usage() {
    cat >&2 <<'USAGE'
usage: health-check.sh URL [OPS_URL]

  URL      where people reach MapleAI, such as https://maple.example
  OPS_URL  its operations listener, such as http://10.0.0.7:9464; without it the metrics are read at URL, if it shows them

  HEALTH_CHECK_TIMEOUT          seconds to wait for readiness (120)
  SMOKE_EMAIL, SMOKE_PASSWORD   the account to sign in with; `mapleai org create` makes one, `make run` prints its own
  SMOKE_MODEL                   the model to ask; otherwise the first chat model on offer

Exits with 0 if all is well, 1 if a step failed, 2 for wrong arguments.
USAGE
    exit 2
}

wrong() {
    printf 'error: %s\n' "$1" >&2
    usage
}

url_pattern='^https?://[^/?#[:space:]@"\\]+(/[^[:space:]?#"\\]*)?$'
[ $# -ge 1 ] && [ $# -le 2 ] || usage
[[ $1 =~ $url_pattern ]] || wrong 'URL must be an http or https address without credentials, query or fragment'
[ $# -eq 1 ] || [[ $2 =~ $url_pattern ]] || wrong 'OPS_URL must be an http or https address without credentials, query or fragment'
[[ ${HEALTH_CHECK_TIMEOUT:-120} =~ ^[1-9][0-9]{0,4}$ ]] || wrong 'HEALTH_CHECK_TIMEOUT must be a number of seconds'

url=${1%/}
ops_url=${2:-}
ops_url=${ops_url%/}
timeout=${HEALTH_CHECK_TIMEOUT:-120}
email=${SMOKE_EMAIL:-}
password=${SMOKE_PASSWORD:-}
model=${SMOKE_MODEL:-}
# curl and its like are not to inherit them.
unset SMOKE_EMAIL SMOKE_PASSWORD
poll_interval=2
# Seconds for one request, and for one that a model answers.
request_limit=10
answer_limit=60

# What is sent and what came lies in files that only this user can read: arguments of processes can be read by all.
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$work/credentials"

failed=0
began=0

now() {
    local LC_ALL=C
    echo $((${EPOCHREALTIME/./} / 1000))
}

begin() { began=$(now); }
ok() { printf 'ok   %s (%d ms)%s\n' "$1" $(($(now) - began)) "${2:+: $2}"; }
note() { printf 'note %s: %s\n' "$1" "$2"; }
skip() { printf 'skip %s: %s\n' "$1" "$2"; }
fail() {
    printf 'FAIL %s: %s\n' "$1" "$2"
    failed=$((failed + 1))
}

# request METHOD ADDRESS [SECONDS] [FILE_WITH_BODY]: leaves the status in $status, headers and body in $work. A status of 000
# is no answer, or half of one; $reason then says why.
status=000
reason=
request() {
    local method=$1 address=$2 limit=${3:-$request_limit} body=${4:-}
    local options=(--disable --silent --show-error --no-buffer --request "$method" --max-time "$limit" --connect-timeout 5
        --config "$work/credentials" --dump-header "$work/headers" --output "$work/body" --write-out '%{http_code}')
    # A proxy has no way to this machine.
    [[ $address =~ ^https?://(localhost|127\.0\.0\.1)(:|/|$) ]] && options+=(--noproxy '*')
    [ -z "$body" ] || options+=(--header 'Content-Type: application/json' --data-binary @-)
    : >"$work/headers"
    : >"$work/body"
    reason=
    if ! status=$(curl "${options[@]}" -- "$address" <"${body:-/dev/null}" 2>"$work/reason"); then
        reason=$(head -n 1 "$work/reason" | tr -d '\r')
        [ "$status" = 000 ] || [ -z "$status" ] || reason="$reason, after the status $status"
        status=000
    fi
}

# What came, in a few words, for the line of a failure. Bodies of successes are not shown: they may hold tokens.
came() {
    if [ "$status" = 000 ]; then
        echo "no whole answer came: $reason"
    elif [[ $status == 2* ]]; then
        echo "$status came"
    else
        local text
        text=$(tr '\r\n\t' '   ' <"$work/body" | tr -d '[:cntrl:]' | head -c 300)
        echo "$status came${text:+: $text}"
    fi
}

# header NAME: its value in the last answer, if any.
header() {
    { grep -i "^$1:" "$work/headers" || true; } | tail -n 1 | cut -d: -f2- | tr -d '\r \t'
}

# The text of the first field of this name in the last answer; for values without escapes, such as tokens, names and words.
field() {
    tr -d '\r\n' <"$work/body" | { grep -oE "\"$1\"[[:space:]]*:[[:space:]]*\"[^\"\\\\]*\"" || true; } | head -n 1 |
        sed -E 's/^"[^"]*"[[:space:]]*:[[:space:]]*"(.*)"$/\1/'
}

# A text as JSON writes it.
quoted() {
    local text=${1//\\/\\\\}
    text=${text//\"/\\\"}
    text=${text//$'\t'/\\t}
    printf '"%s"' "${text//$'\n'/\\n}"
}

# The checks of the last answer of /api/health that have the status $1, in one line.
checks_with_status() {
    local line name='' found=()
    while IFS= read -r line; do
        if [ -n "$name" ] && [[ $line =~ \"status\"[[:space:]]*:[[:space:]]*\"$1\" ]]; then found+=("$name"); fi
        name=
        if [[ $line =~ \"([^\"]*)\"[[:space:]]*:[[:space:]]*\{$ ]]; then name=${BASH_REMATCH[1]}; fi
    done < <(tr -d '\r\n' <"$work/body" | sed 's/{/{\n/g' && echo)
    local IFS=' '
    echo "${found[*]}"
}

# The models of the last answer of /api/models that chat, one a line.
chat_models() {
    tr -d '\r\n' <"$work/body" | sed 's/}/}\n/g' | { grep -E '"kind"[[:space:]]*:[[:space:]]*"chat"' || true; } |
        sed -nE 's/.*"id"[[:space:]]*:[[:space:]]*"([^"\\]*)".*/\1/p'
}

# wait_for STEP ADDRESS WORD: until ADDRESS answers 200 with that status in its body, or time is up for all such waiting.
deadline=$((SECONDS + timeout))
wait_for() {
    local step=$1 address=$2 word=$3 told='' told_at=0
    begin
    while true; do
        request GET "$address" 5
        if [ "$status" = 200 ] && [ "$(field status)" = "$word" ]; then
            ok "$step"
            return
        fi
        if [ $((SECONDS + poll_interval)) -gt "$deadline" ]; then break; fi
        # What changed is told at once, what did not every ten seconds.
        if [ "$(came)" != "$told" ] || [ $((SECONDS - told_at)) -ge 10 ]; then
            told=$(came)
            told_at=$SECONDS
            printf 'wait %s (%d s): %s\n' "$step" "$SECONDS" "$told"
        fi
        sleep "$poll_interval"
    done
    fail "$step" "expected 200 and \"$word\" within $timeout s, $(came)"
    return 1
}

check_health() {
    begin
    request GET "$url/api/health"
    local found
    found=$(field status)
    case "$status $found" in
        '200 pass') ok health ;;
        '200 warn')
            ok health
            note health "warn: $(checks_with_status warn)"
            ;;
        *' fail') fail health "expected pass or warn, $status with fail came: $(checks_with_status fail)" ;;
        *) fail health "expected 200 with pass or warn, $(came)" ;;
    esac
}

signed_in=no
sign_in() {
    local token
    if [ -z "$email" ] || [ -z "$password" ]; then
        fail 'sign in' 'expected an account in SMOKE_EMAIL and SMOKE_PASSWORD, they are not both set'
        return
    fi
    begin
    printf '{"email":%s,"password":%s}' "$(quoted "$email")" "$(quoted "$password")" >"$work/login"
    request POST "$url/api/auth/login" "$request_limit" "$work/login"
    rm -f "$work/login"
    if [ "$status" != 200 ]; then
        fail 'sign in' "expected 200, $(came)"
        return
    fi
    token=$(field access_token)
    # Nothing else can be in a token, and nothing else may get into curl's configuration.
    if ! [[ $token =~ ^[A-Za-z0-9._~+/=-]+$ ]]; then
        fail 'sign in' 'expected an access_token, 200 came without one'
        return
    fi
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/credentials"
    signed_in=yes
    ok 'sign in'
}

# What browsers and CDNs are told they may keep for everybody. The list of models is no example: it is for people who are signed in,
# where registration is closed.
check_caching() {
    local control
    begin
    request GET "$url/api/openapi.json"
    control=$(header cache-control)
    if [ "$status" != 200 ]; then
        fail caching "expected 200 of /api/openapi.json, $(came)"
    elif ! [[ $control == *public* && $control == *max-age=* ]]; then
        fail caching "expected Cache-Control with public and max-age of /api/openapi.json, '$control' came"
    else
        ok caching "$control"
    fi
}

choose_model() {
    begin
    request GET "$url/api/models"
    local models
    models=$(chat_models)
    if [ "$status" != 200 ]; then
        fail models "expected 200, $(came)"
    elif [ -n "$model" ]; then
        ok models "$model is asked, as SMOKE_MODEL says"
    elif [ -z "$models" ]; then
        fail models 'expected a chat model on offer, none came'
    else
        model=${models%%$'\n'*}
        ok models "$model is asked"
    fi
}

# ask STREAM TEXT: sends a repeatable question, which may be answered from the cache.
ask() {
    printf '{"model":%s,"messages":[{"role":"user","content":%s}],"temperature":0,"max_tokens":16,"stream":%s}' \
        "$(quoted "$model")" "$(quoted "$2")" "$1" >"$work/question"
    request POST "$url/v1/chat/completions" "$answer_limit" "$work/question"
}

# The number makes the first question one that was never answered before, so that the model itself is heard.
question="Say hello to health check $(now)$RANDOM."

# answered STEP: whether the last request was answered, with the header that tells of the cache.
answered() {
    if [ "$status" != 200 ]; then
        fail "$1" "expected 200, $(came)"
    elif ! grep -qE '"choices"[[:space:]]*:' "$work/body"; then
        fail "$1" 'expected an answer with choices, 200 came without them'
    elif ! [[ $(header x-maple-cache) =~ ^(hit|miss|coalesced|bypass)$ ]]; then
        fail "$1" "expected the header X-Maple-Cache with hit, miss, coalesced or bypass, '$(header x-maple-cache)' came"
    else
        return 0
    fi
    return 1
}

check_answers() {
    local first second
    begin
    ask false "$question"
    answered answer || {
        skip 'answer from the cache' 'there was no first answer'
        return 0
    }
    first=$(header x-maple-cache)
    ok answer "$first"

    # Another instance may be asked before it hears of the answer: a few looks, all of the same question.
    begin
    for _ in 1 2 3; do
        ask false "$question"
        answered 'answer from the cache' || return 0
        second=$(header x-maple-cache)
        [ "$first" = miss ] && [ "$second" = miss ] || break
        sleep 0.5
    done
    if [ "$second" = bypass ]; then
        ok 'answer from the cache'
        note 'answer from the cache' "bypass: answers of $model are not remembered"
    elif [ "$first" = miss ] && [ "$second" != hit ]; then
        fail 'answer from the cache' "expected X-Maple-Cache: hit after a miss, $second came"
    else
        ok 'answer from the cache' "$second"
    fi
}

check_stream() {
    local events last
    begin
    # Another text, so that the model streams and not the cache.
    ask true "$question Stream it."
    if [ "$status" = 000 ]; then
        fail stream "expected a whole stream, $(came)"
        return
    elif [ "$status" != 200 ]; then
        fail stream "expected 200, $(came)"
        return
    fi
    last=$(tr -d '\r' <"$work/body" | { grep -v '^$' || true; } | tail -n 1)
    events=$(grep -c '^data: {' "$work/body" || true)
    if [ "$last" != 'data: [DONE]' ]; then
        fail stream "expected data: [DONE] at the end, it ended after $events events without it"
    elif [ "$events" -eq 0 ]; then
        fail stream 'expected events before data: [DONE], none came'
    else
        ok stream "$events events"
    fi
}

sign_out() {
    begin
    request POST "$url/api/auth/logout"
    : >"$work/credentials"
    if [ "$status" = 204 ]; then ok 'sign out'; else fail 'sign out' "expected 204, $(came)"; fi
}

check_metrics() {
    local address=${ops_url:-$url}/metrics name missing=()
    begin
    request GET "$address"
    if [ "$status" != 200 ] && [ -z "$ops_url" ]; then
        skip metrics "$address does not show them ($(came | head -c 60)), and no OPS_URL was given"
        return
    elif [ "$status" != 200 ]; then
        fail metrics "expected 200 at $address, $(came)"
        return
    fi
    for name in maple_build_info maple_completions_total; do
        grep -qE "^${name}[{ ]" "$work/body" || missing+=("$name")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        fail metrics "expected maple_build_info and maple_completions_total at $address, absent: ${missing[*]}"
    else
        ok metrics "$(grep -E '^maple_build_info[{ ]' "$work/body" | head -n 1)"
    fi
    if grep -E '^maple_forwarded_for_ignored_total ' "$work/body" | grep -qv ' 0$'; then
        note proxies 'X-Forwarded-For came from an address that is not in server.trusted_proxies: if that is a proxy of yours, all its clients count as one'
    fi
}

echo "Checking $url"
if wait_for liveness "$url/api/health?probe=liveness" pass; then
    # Health and answers are looked at even if it is not ready: they tell why.
    wait_for readiness "$url/api/ready" ready || true
    check_health
    check_caching
    sign_in
    choose_model
    for step in answers stream; do
        if [ $signed_in = no ]; then
            skip "$step" 'nobody is signed in'
        elif [ -z "$model" ]; then
            skip "$step" 'there is no model to ask'
        else
            "check_$step"
        fi
    done
    if [ $signed_in = yes ]; then sign_out; else skip 'sign out' 'nobody is signed in'; fi
elif [ "$status" != 000 ]; then
    check_health
    # A password is for MapleAI, and this may be something else.
    skip 'all other steps at URL' 'it is not alive'
else
    skip 'all other steps at URL' 'nothing there answers'
fi
if [ -n "$ops_url" ] || [ "$status" != 000 ]; then check_metrics; else skip metrics 'nothing answers'; fi

if [ $failed -gt 0 ]; then
    echo "$failed failed: $url is not well"
    exit 1
fi
echo "$url is well"
