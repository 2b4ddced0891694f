"""That workflows, make targets, scripts and the checklist speak of the same things; tests/k8s/test_workflows.py has the rest."""

import pathlib
import re

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


def test_the_checklist_asks_for_what_is_written():
    """Each item that a program shows, with the very words that the program signs with."""
    wanted = dict(re.findall(r'Phase::\w+,\s*"([a-z-]+)",\s*"[^"]*",\s*ShownBy::(?:Recent)?Program\(\s*"([^"]*)"', ITEMS))
    written = dict(re.findall(r'\$\(XTASK\) shown ([a-z-]+) "([^"]+)"', MAKEFILE))
    measured = re.findall(r'item: "([a-z-]+)"', (ROOT / "xtask/src/measure.rs").read_text())
    written |= dict.fromkeys(measured, "make measure")
    # What `make deploy` writes is tried in test_deploy.py.
    written |= {"staging": "make deploy ENVIRONMENT=staging", "traffic": "make deploy ENVIRONMENT=production"}
    # Recent evidence of anybody will do for this one.
    assert written.pop("notification") == "make notify"
    assert wanted == written


def test_people_are_asked_for_every_item_that_only_they_can_show():
    people = set(re.findall(r'Phase::\w+,\s*"([a-z-]+)",\s*"[^"]*",\s*ShownBy::(?:Person|Recent\()', ITEMS))
    loops = "\n".join(step["run"] for path in WORKFLOWS for step in steps(load(path.name)[1]) if "approvals" in step.get("run", ""))
    asked = {word for word in re.findall(r"[a-z-]+", loops) if word in people}
    assert asked == people
