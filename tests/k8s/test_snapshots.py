"""What each environment renders to, as files: a change of a base or component shows what it does to production before it is there.

UPDATE_SNAPSHOTS=1 writes the files anew; the difference is then read as any other change (CONTRIBUTING.md).
"""

import difflib
import os
import pathlib
import re

import pytest
import yaml
from manifests import overlay

SNAPSHOTS = pathlib.Path(__file__).parent / "snapshots"
# Resources and texts that are files in k8s/ and config/ as they stand: they are reviewed there.
COPIED_KINDS = {"PrometheusRule"}
COPIED = "(a file as it stands)"


class Dumper(yaml.SafeDumper):
    """Texts of several lines as such, and no anchors."""

    def ignore_aliases(self, data):
        return True


def write_text(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, write_text)


def without_copies(resource):
    if resource["kind"] in COPIED_KINDS:
        return {**resource, "spec": COPIED}
    if resource["kind"] == "ConfigMap":
        data = {key: COPIED if "\n" in text else text for key, text in resource.get("data", {}).items()}
        return {**resource, "data": data}
    return resource


def normalised(resources):
    """In an order of its own, without what differs between releases or follows from the content of a copied file."""
    ordered = sorted(
        map(without_copies, resources),
        key=lambda one: (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]),
    )
    text = yaml.dump_all(ordered, Dumper=Dumper, sort_keys=True, width=160, allow_unicode=True)
    # `make pin` writes these with every release.
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:[digest]", text)
    text = re.sub(r"\bmapleai-migrate-[0-9a-f]{12}\b", "mapleai-migrate-[digest]", text)
    # kustomize's hash of what a generated ConfigMap holds.
    generated = {one["metadata"]["name"] for one in resources if one["kind"] == "ConfigMap"}
    for name in sorted(generated, key=len, reverse=True):
        if found := re.fullmatch(r"(.+)-[a-z0-9]{10}", name):
            text = text.replace(name, f"{found[1]}-[hash]")
    return text


@pytest.mark.parametrize("name", ["staging", "production"])
def test_an_environment_renders_to_what_was_reviewed(name):
    file = SNAPSHOTS / f"{name}.yaml"
    now = normalised(overlay(name))
    if os.environ.get("UPDATE_SNAPSHOTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(now, encoding="utf-8")
    before = file.read_text(encoding="utf-8")
    difference = difflib.unified_diff(before.splitlines(), now.splitlines(), str(file), "rendered now", lineterm="")
    assert before == now, "\n".join(["UPDATE_SNAPSHOTS=1 writes it anew, to be read:", *difference])


def test_what_pods_run_by_is_not_left_out():
    """The normalisation must not hide what it is about."""
    text = normalised(overlay("production"))
    for needed in ("terminationGracePeriodSeconds:", "MAPLE_ENV: production", "maxUnavailable:", "memory: 1Gi"):
        assert needed in text, needed
