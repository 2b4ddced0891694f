"""Each check, shown once to fail: a copy of the project in which one thing is wrong, and the message that names it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys

import pytest
from manifests import ROOT, schemas

# Named by `make k8s-test`, or as scripts/xtask.sh has built it.
XTASK = os.environ.get("MAPLE_XTASK") or os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "xtask/debug/xtask")
COPIED = [".github", "config", "crates", "docs", "k8s", "migrations", "scripts", "src", "tests", "xtask"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree") / "project"
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(".test-*", "__pycache__", "node_modules"))
    for name in ("Dockerfile", "Makefile", ".yamllint.yaml"):
        shutil.copy(ROOT / name, folder)
    return folder


@contextlib.contextmanager
def changed(path, before, after):
    """Replaces a pattern in a file, which must be there, and puts it back."""
    text = path.read_text()
    new, count = re.subn(before, after, text, flags=re.MULTILINE | re.DOTALL)
    assert count, f"{path}: there is no {before}"
    path.write_text(new)
    try:
        yield
    finally:
        path.write_text(text)


def check(tree, test, **environment):
    """Runs one test of the copy; the text that it failed with, or nothing."""
    variables = {name: value for name, value in os.environ.items() if name not in ("CI", "MAPLE_METRICS_FILE")}
    file, _, choice = test.partition("::")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tree / "tests", tree / "tests" / file]
        + (["-k", choice] if choice else []),
        cwd=tree,
        env={**variables, "PYTHONDONTWRITEBYTECODE": "1", "KUBE_SCHEMAS": "none", "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), f"the check itself broke: {done.stdout}{done.stderr}"
    return done.stdout if done.returncode else ""


RENDERED = "k8s/test_rendered.py::production and "
VALIDATES = "k8s/test_validates.py::production and "


# File, pattern, what comes in its place, the check, and what it says.
WRONG = [
    # Numbers of the deployment strategy, changed by hand.
    ("k8s/base/deployment.yaml", "memory: 1Gi", "memory: 2Gi", RENDERED + "strategy_s", r"limits: memory is 2Gi, not 1Gi"),
    ("k8s/base/deployment.yaml", "cpu: 250m", "cpu: 200m", RENDERED + "strategy_s", r"requests: cpu is 200m, not 250m"),
    ("k8s/base/deployment.yaml", "containerPort: 3000", "containerPort: 3001", RENDERED + "strategy_s", r"port is 3001, not 3000"),
    ("k8s/base/deployment.yaml", "replicas: 3", "replicas: 2", "k8s/test_rendered.py::number_of_pods", "the strategy has 3 replicas"),
    ("k8s/base/deployment.yaml", "initialDelaySeconds: 30", "initialDelaySeconds: 3", RENDERED + "probes", "liveness"),
    ("k8s/base/deployment.yaml", "timeoutSeconds: 4", "timeoutSeconds: 3", RENDERED + "probes", "the readiness budget is 3 s"),
    ("k8s/base/deployment.yaml", "PeriodSeconds: 165", "PeriodSeconds: 60", RENDERED + "drain", "60 s are too few"),
    ("k8s/base/deployment.yaml", "runAsUser: 1001", "runAsUser: 0", RENDERED + "locked_up", "Deployment/mapleai-app"),
    ("k8s/components/blue-green/rollout.yaml", "setWeight: 10$", "setWeight: 20", "k8s/test_rollouts.py::production and weights", "[20, 50, 100]"),
    ("k8s/components/canary/rollout.yaml", "setWeight: 75", "setWeight: 80", "k8s/test_rollouts.py::canary and weights", "50, 80, 100"),
    (
        "k8s/components/autoscaling/hpa.yaml",
        "averageUtilization: 50",
        "averageUtilization: 60",
        "k8s/test_autoscaling.py::production and numbers",
        "CPU: up above 70 %",
    ),
    (
        "k8s/components/autoscaling/hpa.yaml",
        "stabilizationWindowSeconds: 600",
        "stabilizationWindowSeconds: 60",
        "k8s/test_autoscaling.py::production and numbers",
        "down after 10 minutes",
    ),
    (
        "k8s/components/autoscaling/hpa.yaml",
        "maxReplicas: 12",
        "maxReplicas: 40",
        "k8s/test_autoscaling.py::production and connections",
        "3 versions x 40 pods x 20 connections and the reserve are 2450, PgBouncer takes 1000",
    ),
    (
        "k8s/components/analysis/release.yaml",
        r"!isNaN\(result\[0\]\) && result\[0\] < 0.01",
        "!(result[0] >= 0.01)",
        "k8s/test_rollouts.py::never_pass",
        "error-rate",
    ),
    # Images, fields, namespaces.
    (
        "k8s/production/kustomization.yaml",
        r"    digest: sha256:\w+",
        "    newTag: latest",
        RENDERED + "images",
        "mapleai/app:latest is not by digest",
    ),
    ("k8s/base/deployment.yaml", "enableServiceLinks:", "enableServicelinks:", VALIDATES + "built_in", "Deployment/mapleai-app.*enableServicelinks"),
    ("k8s/base/deployment.yaml", "name: mapleai-config", "name: mapleai-konfig", VALIDATES + "config_map", "no ConfigMap mapleai-konfig"),
    # A metric that is called otherwise than before, where it is made and where it is asked for.
    (
        "crates/telemetry/src/metrics.rs",
        '"maple_completions_total"',
        '"maple_completions_done_total"',
        "monitoring/test_monitoring.py::every_metric_exists",
        "business.json: .*: no maple_completions_total",
    ),
    (
        "k8s/components/analysis/release.yaml",
        "maple_completions_total",
        "maple_completion_total",
        "monitoring/test_monitoring.py::every_metric_exists",
        "analysis mapleai-release: completions: no maple_completion_total",
    ),
    # Alerts.
    (
        "k8s/components/monitoring/prometheusrule-alerts.yaml",
        r"runbooks/MapleLatencyHigh\.md",
        "runbooks/MapleSlow.md",
        "monitoring/test_monitoring.py::say_what_to_do",
        "MapleLatencyHigh: .*MapleSlow.md",
    ),
    # Secrets.
    (
        "k8s/components/external-secrets/mapleai-secret.yaml",
        r"    - secretKey: openai-api-key\n.*?property: openai-api-key\n",
        "",
        "k8s/test_rendered.py::production and secret_that_is_named",
        "an ExternalSecret makes no mapleai-secret/openai-api-key",
    ),
    (
        "docs/DEPLOYMENT.md",
        r"--from-(file|literal)=direct-url=",
        r"--from-\1=direct=",
        "k8s/test_rendered.py::staging and secret_that_is_named",
        "docs/DEPLOYMENT.md makes no db-secret/direct-url",
    ),
    # The pipeline.
    (
        ".github/workflows/deploy.yml",
        "actions/checkout@[0-9a-f]{40} # v7.0.0",
        "actions/checkout@v7",
        "k8s/test_workflows.py::pinned",
        "actions/checkout@v7 is not pinned by commit",
    ),
    (".github/workflows/deploy.yml", "make k8s-test", "make k8s-tests", "k8s/test_workflows.py::make_target", "k8s-tests"),
]


@pytest.mark.parametrize(
    ("file", "before", "after", "test", "message"),
    WRONG,
    ids=[f"{case[0].rpartition('/')[2]}: {case[2] or case[1]}"[:60] for case in WRONG],
)
def test_one_thing_wrong(tree, file, before, after, test, message):
    with changed(tree / file, before, after):
        said = check(tree, test)
    assert said, f"{test} did not see that {before!r} is {after!r} in {file}"
    assert re.search(message, said) or message in said, said


def test_an_alert_without_a_runbook(tree):
    runbook = tree / "docs/runbooks/MapleLatencyHigh.md"
    text = runbook.read_text()
    runbook.unlink()
    said = check(tree, "monitoring/test_monitoring.py::say_what_to_do or belong")
    runbook.write_text(text)
    assert "MapleLatencyHigh has no runbook" in said, said


def test_a_migration_that_takes_something_away(tree):
    """Refused, until somebody has reviewed the file as it is."""
    number = len(list((tree / "migrations").glob("*.up.sql"))) + 1
    up = tree / f"migrations/{number:04}_forget_names.up.sql"
    up.write_text("SET LOCAL lock_timeout = '5s';\nALTER TABLE users DROP COLUMN IF EXISTS name;\n")
    tests = "k8s/test_migrations.py::forget_names"
    reviews = tree / "migrations/reviewed.txt"
    before = reviews.read_text()
    try:
        said = check(tree, tests)
        assert f"{up.name} cannot be undone: {number:04}_forget_names.down.sql is missing" in said, said
        (tree / f"migrations/{number:04}_forget_names.down.sql").write_text("ALTER TABLE users ADD COLUMN name text;\n")
        said = check(tree, tests)
        (line,) = set(re.findall(rf"\b[0-9a-f]{{64}} {re.escape(up.name)}", said))
        assert f"{up.name} has DROP COLUMN and no review of the file as it is" in said, said
        assert "ban-drop-column" in said, "squawk says it, too"
        reviews.write_text(f"{before}{line} Ada nothing reads it since 1.4\n")
        assert check(tree, tests) == ""
        up.write_text(up.read_text() + "-- and more\n")
        assert "no review of the file as it is" in check(tree, tests), "a change makes the review void"
    finally:
        reviews.write_text(before)
        for file in (tree / "migrations").glob("*_forget_names.*"):
            file.unlink()


def test_a_migration_that_would_lock_a_table(tree):
    number = len(list((tree / "migrations").glob("*.up.sql"))) + 1
    up = tree / f"migrations/{number:04}_slow.up.sql"
    down = tree / f"migrations/{number:04}_slow.down.sql"
    up.write_text("CREATE INDEX users_by_name ON users (name);\n")
    down.write_text("DROP INDEX users_by_name;\n")
    said = check(tree, "k8s/test_migrations.py::slow and squawk")
    up.unlink(), down.unlink()
    assert "require-concurrent-index-creation" in said and "require-lock-timeout" in said, said


def test_without_kubectl_nothing_has_been_checked(tree, tmp_path):
    said = check(tree, "k8s/test_validates.py::staging and built_in", PATH=str(tmp_path))
    assert "kubectl is missing: install version 1.30 or newer" in said, said
    for task in ("k8s-test", "rehearse"):
        done = subprocess.run([XTASK, task], env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "kubectl is missing" in done.stderr, done.stderr


def test_without_schemas_a_pipeline_fails_and_a_person_is_told(tree, tmp_path):
    test = "k8s/test_validates.py::staging and custom"
    said = check(tree, test, CI="true", KUBE_SCHEMAS="")
    assert "KUBE_SCHEMAS must name a folder" in said, said
    said = check(tree, test, KUBE_SCHEMAS=str(tmp_path / "nowhere"))
    assert "nowhere is not a folder" in said, said


@pytest.mark.skipif(not schemas(), reason="NOT CHECKED, there are no schemas (KUBE_SCHEMAS)")
def test_a_custom_resource_with_a_field_that_is_none(tree):
    with changed(tree / "k8s/components/blue-green/rollout.yaml", "progressDeadlineAbort", "progressDeadlineAborts"):
        said = check(tree, VALIDATES + "custom", KUBE_SCHEMAS=str(schemas()))
    assert "Rollout/mapleai-app" in said and "progressDeadlineAborts" in said, said


def test_a_metric_is_not_believed_without_a_running_instance(tree):
    said = check(tree, "monitoring/test_monitoring.py::every_metric_exists", CI="true")
    assert "MAPLE_METRICS_FILE must name what a running instance exported" in said, said
