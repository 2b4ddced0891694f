"""The pipeline: its order, what it may do, where its actions come from, and that its steps are what a person can run."""

import re
import subprocess

import pytest
import yaml
from manifests import ROOT, tool

WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
TEXTS = {name: (ROOT / ".github/workflows" / name).read_text() for name in WORKFLOWS}
JOBS = [(name, job, body) for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()]
STEPS = [(name, job, step) for name, job, body in JOBS for step in body.get("steps", [])]


def test_it_runs_on_what_the_strategy_says():
    # YAML 1.1 takes the key for a truth value.
    triggers = WORKFLOWS["deploy.yml"][True]
    assert set(triggers["push"]["branches"]) == {"main", "develop"}
    assert "main" in triggers["pull_request"]["branches"]


def test_jobs_come_in_order():
    jobs = WORKFLOWS["deploy.yml"]["jobs"]
    needs = {job: [body["needs"]] if isinstance(body.get("needs"), str) else body.get("needs", []) for job, body in jobs.items()}
    assert needs["security"] == ["test"] and needs["image"] == ["security"] and needs["publish"] == ["image"]
    assert needs["staging"] == ["publish"] and set(needs["production"]) == {"publish", "staging"}
    assert jobs["production"]["if"] == "github.ref == 'refs/heads/main'"
    assert set(jobs["test"]["services"]) == {"postgres", "redis"}


@pytest.mark.parametrize(("name", "job", "body"), JOBS, ids=lambda part: part if isinstance(part, str) else "")
def test_a_job_may_do_little_and_ends_by_itself(name, job, body):
    assert WORKFLOWS[name]["permissions"] == {}, "nothing by default"
    assert "permissions" in body, f"{job} says what it may do"
    writes = {what for what, how in body["permissions"].items() if how == "write"}
    assert not writes or job == "publish", f"{job} may write {writes}; only publish may"
    assert "uses" in body or body["timeout-minutes"] <= 120


def test_concurrency_is_guarded():
    assert WORKFLOWS["deploy.yml"]["concurrency"]["cancel-in-progress"] == "${{ github.event_name == 'pull_request' }}"
    (deploy,) = WORKFLOWS["deploy-environment.yml"]["jobs"].values()
    assert deploy["concurrency"] == {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": False}


def test_actions_are_pinned_by_commit_and_each_pin_has_its_source():
    listed = re.findall(
        r"^\| `([\w/-]+)` \| (v[\d.]+) \| `([0-9a-f]{40})` \| .*at `[0-9a-f]{40}`",
        (ROOT / ".github/workflows/PINS.md").read_text(),
        re.MULTILINE,
    )
    used = set()
    for name, text in TEXTS.items():
        for reference, comment in re.findall(r"uses: (\S+)(?: # (.*))?$", text, re.MULTILINE):
            if reference.startswith("./"):
                continue
            action, _, commit = reference.partition("@")
            assert re.fullmatch(r"[0-9a-f]{40}", commit), f"{name}: {reference} is not pinned by commit"
            assert (action, comment, commit) in listed, f"{name}: {reference} # {comment} is not in PINS.md"
            used.add((action, comment, commit))
    assert used == set(listed), f"PINS.md lists what nobody uses: {set(listed) - used}"


def test_every_make_target_that_is_called_exists():
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = {target for text in TEXTS.values() for target in re.findall(r"\bmake ([a-z][a-z0-9-]+)", text)}
    assert called - {"target", "sure"} <= targets, called - targets
    assert {"lint", "test", "k8s-test", "scan", "image", "image-test", "sbom", "deploy", "smoke", "bench-check"} <= called
    assert {"checklist", "evidence", "measure", "rollback", "notify", "rehearse", "compatibility"} <= called


def test_every_script_that_a_target_calls_exists():
    for script in re.findall(r"\bscripts/[\w./-]+\.sh", (ROOT / "Makefile").read_text() + "".join(TEXTS.values())):
        path = ROOT / script
        assert path.is_file(), f"there is no {script}"
        assert path.stat().st_mode & 0o111, f"{script} is not executable"


@pytest.mark.parametrize(("name", "job", "step"), [entry for entry in STEPS if "run" in entry[2]], ids=lambda part: "")
def test_steps_are_sound_shell(name, job, step):
    assert "${{" not in step["run"], f"{job}: an expression in a script is an injection waiting to happen"
    done = subprocess.run(
        [tool("shellcheck"), "--shell=bash", "--exclude=SC2154", "-"],
        input=step["run"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{name}: {job}: {step.get('name', step['run'])}\n{done.stdout}"
