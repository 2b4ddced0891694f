#!/usr/bin/env bash
# The private PostgreSQL of this checkout: postgres.sh start|stop|status|url|psql [ARGUMENTS]|destroy
exec "$(dirname "${BASH_SOURCE[0]}")/../xtask.sh" postgres "$@"
