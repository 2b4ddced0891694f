#!/usr/bin/env bash
# Tells people something: posts {"text": MESSAGE} to the webhook in NOTIFY_WEBHOOK_URL (Slack, Mattermost, Teams and others take
# it). Ends with 1 and the reason when the post failed, so that nobody believes it was read. Without a webhook the message is only
# printed, and this ends with 3: nobody was told.
set -euo pipefail

if [ $# -ne 1 ] || [ -z "$1" ]; then
    echo 'usage: notify.sh MESSAGE' >&2
    exit 2
fi

message=$1
webhook=${NOTIFY_WEBHOOK_URL:-}
unset NOTIFY_WEBHOOK_URL
if [ -z "$webhook" ]; then
    printf 'notification to nobody (NOTIFY_WEBHOOK_URL is not set): %s\n' "$message"
    exit 3
fi
# The address goes to curl as a line of configuration, where a quote would end it.
if ! [[ $webhook =~ ^https?://[^[:space:]\"\\]+$ ]]; then
    echo 'notification failed: NOTIFY_WEBHOOK_URL is not an http or https address' >&2
    exit 1
fi

# Control characters have no place in JSON text; line breaks and tabs are kept.
text=$(tr -d '\000-\010\013-\037' <<<"$message")
text=${text//\\/\\\\}
text=${text//\"/\\\"}
text=${text//$'\n'/\\n}
text=${text//$'\t'/\\t}

# The webhook's address is a secret itself, so it goes by standard input and never into an argument or a message. Sent once: a
# second post after a lost answer would tell people twice.
if ! outcome=$(printf 'url = "%s"\n' "$webhook" | curl --disable --silent --config - --max-time 15 --connect-timeout 5 \
    --request POST --header 'Content-Type: application/json' --data-binary @<(printf '{"text":"%s"}' "$text") \
    --output /dev/null --write-out '%{http_code}'); then
    echo "notification failed: the webhook did not answer (curl says ${outcome:-nothing})" >&2
    exit 1
fi
if [[ $outcome != 2* ]]; then
    echo "notification failed: the webhook answered $outcome" >&2
    exit 1
fi
echo 'notification sent'
