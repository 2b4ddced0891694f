"""What kubectl renders, for the tests: overlays as they are and in every combination that makes sense."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

# Overlay -> the components it is rendered with, in order, beyond those that are tried as they stand in the repository.
COMBINATIONS = {
    "canary": ["autoscaling", "istio", "canary", "monitoring", "external-secrets"],
    "canary-kubernetes-secrets": ["autoscaling", "istio", "canary"],
    "blue-green-without-operator": ["autoscaling", "istio", "blue-green"],
    "older-cluster": ["autoscaling", "autoscaling-older-clusters", "istio", "blue-green", "monitoring", "external-secrets"],
    "older-cluster-rolling": ["autoscaling", "autoscaling-older-clusters"],
    "rolling-in-a-mesh": ["autoscaling", "istio", "monitoring"],
    "fixed-size": [],
}


def kubectl(*arguments, check=True):
    """Runs kubectl; a machine without it has not been checked, which is a failure."""
    program = shutil.which("kubectl")
    assert program, "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)"
    return subprocess.run([program, *arguments], check=check, capture_output=True, text=True, timeout=60)


def render(folder):
    done = kubectl("kustomize", str(folder), check=False)
    assert done.returncode == 0, f"kubectl kustomize {folder}: {done.stderr}"
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@functools.cache
def overlay(name):
    """The rendered resources of `staging`, `production` or one of COMBINATIONS."""
    if name not in COMBINATIONS:
        return render(K8S / name)
    production = yaml.safe_load((K8S / "production" / "kustomization.yaml").read_text())
    with tempfile.TemporaryDirectory(dir=K8S, prefix=".test-") as folder:
        folder = pathlib.Path(folder)
        shutil.copy(K8S / "production" / "namespace.yaml", folder)
        production["components"] = [f"../components/{component}" for component in COMBINATIONS[name]]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(production))
        return render(folder)


def every_overlay():
    return ["staging", "production", *COMBINATIONS]


def find(resources, kind, name):
    found = [item for item in resources if item["kind"] == kind and item["metadata"]["name"] == name]
    names = sorted(item["metadata"]["name"] for item in resources if item["kind"] == kind)
    assert len(found) == 1, f"{len(found)} of {kind}/{name}; there are {names}"
    return found[0]


def of_kind(resources, kind):
    return [item for item in resources if item["kind"] == kind]


def pod_templates(resources):
    """(resource, pod template) of everything that makes pods."""
    return [
        (item, item["spec"]["template"])
        for item in resources
        if item["kind"] in ("Deployment", "Job", "StatefulSet", "DaemonSet")
    ]


def schemas():
    """Where the schemas of custom resources are, or nothing."""
    given = os.environ.get("KUBE_SCHEMAS")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared" / "schemas"
    if given:
        assert folder.is_dir(), f"KUBE_SCHEMAS: {folder} is not a folder; it holds <group>/<kind>_<version>.json"
    return folder if folder.is_dir() else None
