"""That workflows, make targets, scripts, the checklist and the list of pins speak of the same things."""

import pathlib
import re

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
ITEMS = (ROOT / "src/cli/checklist/items.rs").read_text()


def load(name):
    # YAML takes the key `on` for true.
    workflow = yaml.safe_load((ROOT / ".github/workflows" / name).read_text())
    return workflow.pop(True), workflow["jobs"]


def steps(jobs):
    return [step for job in jobs.values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_target_and_script_is_there(path):
    runs = "\n".join(step["run"] for step in steps(load(path.name)[1]) if "run" in step)
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", runs)) <= targets
    for script in re.findall(r"\bscripts/[a-z0-9/-]+\.sh", runs):
        assert (ROOT / script).exists(), script


def test_every_script_of_delivery_that_a_target_names_is_there():
    for script in re.findall(r"scripts/(?:delivery/)?[a-z-]+\.sh", MAKEFILE):
        assert (ROOT / script).exists(), script


def test_every_action_is_pinned_as_listed():
    used = set()
    for path in WORKFLOWS:
        for action, commit, version in re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40}) # (v[\d.]+)\n", path.read_text()):
            used.add((action, version, commit))
        for line in re.findall(r"uses: .*", path.read_text()):
            assert "@" not in line or re.search(r"@[0-9a-f]{40} # v", line), line
    listed = re.findall(r"^\| `([^`]+)` \| (v[\d.]+) \| `([0-9a-f]{40})` \|", (ROOT / ".github/workflows/PINS.md").read_text(), re.MULTILINE)
    assert used == set(listed)


def test_secrets_are_named_on_both_sides():
    """One that a caller does not name is empty in the called workflow, even if the environment has it."""
    on, jobs = load("deploy-environment.yml")
    declared = set(on["workflow_call"]["secrets"])
    text = (ROOT / ".github/workflows/deploy-environment.yml").read_text()
    assert set(re.findall(r"secrets\.([A-Z_]+)", text)) == declared
    callers = [job for job in load("deploy.yml")[1].values() if "deploy-environment" in job.get("uses", "")]
    assert len(callers) == 2
    for job in callers:
        assert job["secrets"] == {name: f"${{{{ secrets.{name} }}}}" for name in declared}
        assert set(job["with"]) == set(on["workflow_call"]["inputs"])
        (called,) = jobs.values()
        assert job["permissions"] == called["permissions"], "a called workflow gets no more than its caller"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_expression_is_pasted_into_a_script_and_every_job_has_a_limit(path):
    _, jobs = load(path.name)
    for step in steps(jobs):
        assert "${{" not in step.get("run", ""), step
    for name, job in jobs.items():
        assert "uses" in job or job["timeout-minutes"] <= 150, name
    assert yaml.safe_load(path.read_text())["permissions"] == {}


def test_the_checklist_asks_for_what_is_written():
    """Each item that a program shows, with the very words that the program signs with."""
    wanted = dict(re.findall(r'Phase::\w+,\s*"([a-z-]+)",\s*"[^"]*",\s*ShownBy::(?:Recent)?Program\(\s*"([^"]*)"', ITEMS))
    written = dict(re.findall(r'shown\.sh ([a-z-]+) "([^"]+)"', MAKEFILE))
    measured = re.findall(r"^measure ([a-z-]+) ", (ROOT / "scripts/delivery/measure.sh").read_text(), re.MULTILINE)
    written |= dict.fromkeys(measured, "make measure")
    # What deploy.sh writes is tried in test_deploy.py.
    written |= {"staging": "make deploy ENVIRONMENT=staging", "traffic": "make deploy ENVIRONMENT=production"}
    # Recent evidence of anybody will do for this one.
    assert written.pop("notification") == "make notify"
    assert wanted == written


def test_people_are_asked_for_every_item_that_only_they_can_show():
    people = set(re.findall(r'Phase::\w+,\s*"([a-z-]+)",\s*"[^"]*",\s*ShownBy::(?:Person|Recent\()', ITEMS))
    loops = "\n".join(step["run"] for path in WORKFLOWS for step in steps(load(path.name)[1]) if "approvals" in step.get("run", ""))
    asked = {word for word in re.findall(r"[a-z-]+", loops) if word in people}
    assert asked == people
