"""What scanners say: checkov of manifests, Dockerfile and workflows, hadolint, zizmor, yamllint. Each exception has its reason."""

import json
import shutil
import subprocess

import pytest
import yaml
from manifests import ROOT, overlay, tool

# checkov's check -> resources, and why it does not hold there.
EXPLAINED = {
    "CKV_K8S_35": (
        {"Deployment.mapleai-app", "Job.mapleai-migrate"},
        "the deployment strategy has DATABASE_URL from the secret; what the service reads while it runs comes as files",
    ),
    "CKV_K8S_40": (
        {"Deployment.mapleai-app", "Job.mapleai-migrate"},
        "the deployment strategy has user 1001; the image has no other user, and its root file system is read-only",
    ),
}
RENDERED = ["staging", "production", "canary", "older-cluster", "fixed-size"]
YAML = ["k8s", ".github", "tests", "config", "docs"]


@pytest.fixture(scope="module")
def checkov(tmp_path_factory):
    """check type -> what checkov found, from one run over everything."""
    folder = tmp_path_factory.mktemp("checkov")
    (folder / "rendered").mkdir()
    for name in RENDERED:
        (folder / "rendered" / f"{name}.yaml").write_text(yaml.safe_dump_all(overlay(name)))
    shutil.copy(ROOT / "Dockerfile", folder)
    shutil.copytree(ROOT / ".github", folder / ".github")
    frameworks = ["kubernetes", "dockerfile", "github_actions"]
    done = subprocess.run(
        [tool("checkov"), "--directory", folder, "--framework", *frameworks, "--output", "json", "--skip-download", "--compact"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)
    return {report["check_type"]: report for report in (found if isinstance(found, list) else [found])}


@pytest.mark.parametrize("kind", ["kubernetes", "dockerfile", "github_actions"])
def test_checkov(checkov, kind):
    assert kind in checkov and checkov[kind]["summary"]["passed"] > 50, f"checkov did not look at {kind}"
    assert not checkov[kind]["summary"]["parsing_errors"]
    faults = []
    for fault in checkov[kind]["results"]["failed_checks"]:
        resources, _ = EXPLAINED.get(fault["check_id"], ((), ""))
        if not any(explained(fault["resource"], resource) for resource in resources):
            faults.append(f"{fault['check_id']} {fault['resource']} ({fault['file_path']}): {fault['check_name']}")
    assert not faults, "\n".join(faults)
    assert not checkov[kind]["results"]["skipped_checks"], "exceptions are made here, each with its reason"


def explained(found, resource):
    """`Deployment.production.mapleai-app` is `Deployment.mapleai-app`; the Job's name goes on with digits."""
    kind, _, name = found.split(".", 2) if found.count(".") >= 2 else (found, "", "")
    wanted_kind, wanted = resource.split(".")
    return kind == wanted_kind and name.startswith(wanted)


def test_no_exception_outlives_its_reason(checkov):
    failed = {fault["check_id"] for report in checkov.values() for fault in report["results"]["failed_checks"]}
    assert set(EXPLAINED) == failed & set(EXPLAINED), "these are not needed any more"


def run(*command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_hadolint():
    run(tool("hadolint"), "--no-color", "Dockerfile")


def test_zizmor():
    said = run(tool("zizmor"), "--offline", "--no-progress", "--color=never", ".github/workflows")
    assert "completed .github/workflows/deploy.yml" in said, said


def test_yamllint():
    files = [path.relative_to(ROOT) for folder in YAML for path in (ROOT / folder).rglob("*.y*ml")]
    files += [path.relative_to(ROOT) for path in [*ROOT.glob("*.yaml"), *ROOT.glob(".*.yaml")]]
    # Of another run of these tests that is under way.
    files = sorted(path for path in files if not path.parts[1:2] or not path.parts[1].startswith(".test-"))
    assert len(files) > 40
    run(tool("yamllint"), "--strict", "--format", "parsable", *files)
