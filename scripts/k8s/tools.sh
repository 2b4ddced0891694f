# shellcheck shell=bash
# Sourced (after test/suite.sh): what the checks of manifests, monitoring and pipeline run with.

# Installs it, puts the pinned versions first on the PATH, and sets `checks`, to be followed by files and what else is for pytest.
prepare_checks() {
    command -v kubectl >/dev/null || die "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)"
    "$MAPLE_ROOT/scripts/dev/install.sh" prometheus python curl
    "$MAPLE_ROOT/scripts/xtask.sh" --version >/dev/null
    make_services_dir
    local venv checkov lint tools=${services_dir:?}/tools
    venv=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements.txt)
    # In an environment of its own: what it depends on is older than what the rest takes.
    checkov=$("$MAPLE_ROOT/scripts/test/python.sh" tests/k8s/requirements-checkov.txt)
    lint=$("$MAPLE_ROOT/scripts/test/python.sh")
    # Not the environments' folders: each has a Python, too.
    mkdir "$tools"
    ln -s "$venv"/bin/{hadolint,squawk,yamllint,zizmor} "$checkov/bin/checkov" "$lint/bin/shellcheck" "$tools/"
    export PATH=$tools:$PATH PYTHONDONTWRITEBYTECODE=1
    # shellcheck disable=SC2034 # for those who source this
    checks=("$venv/bin/python" -m pytest -p no:cacheprovider --rootdir tests -q -rs)
}
