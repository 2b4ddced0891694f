# shellcheck shell=bash
# Sourced by the suites: everything a suite needs, and its clean-up on every way out.

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/../environment.sh"
# shellcheck source=scripts/jobs.sh
source "$MAPLE_ROOT/scripts/jobs.sh"
# shellcheck source=scripts/test/services.sh
source "$MAPLE_ROOT/scripts/test/services.sh"
# shellcheck source=scripts/test/server.sh
source "$MAPLE_ROOT/scripts/test/server.sh"
cd "$MAPLE_ROOT" || exit

on_exit() {
    remove_server "$1"
    stop_services
}
end_jobs_on_exit

# run_pytest FILES...: leaves nothing behind in the checkout.
run_pytest() {
    local venv
    venv=$("$MAPLE_ROOT/scripts/test/python.sh")
    PYTHONDONTWRITEBYTECODE=1 run_job "$venv/bin/python" -m pytest -c tests/clients/pytest.ini \
        --rootdir "$MAPLE_ROOT/tests/clients" --basetemp "$server_dir/pytest" "$@"
}
