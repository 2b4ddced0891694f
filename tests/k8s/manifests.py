"""What kubectl renders, for the tests: overlays as they are and in every combination that makes sense."""

import functools
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

# Combinations that tests ask for by name -> the components in order; the environment is production's.
COMBINATIONS = {
    "canary": ["autoscaling", "istio", "canary", "external-secrets", "monitoring"],
    "canary-kubernetes-secrets": ["autoscaling", "istio", "canary", "monitoring"],
    "blue-green-unwatched": ["autoscaling", "istio", "blue-green"],
    "older-cluster": ["autoscaling", "autoscaling-older-clusters", "istio", "blue-green", "external-secrets", "monitoring"],
    "older-cluster-rolling": ["autoscaling", "autoscaling-older-clusters"],
    "rolling-in-a-mesh": ["autoscaling", "istio", "monitoring"],
    "fixed-size": [],
}


def seconds(toml, key):
    """A whole number of seconds in a file of settings."""
    return int(re.search(rf'^{key} = "(\d+)s"$', toml, re.MULTILINE).group(1))


def after_drain():
    """What the server says comes after its drain, beside its records, in seconds."""
    source = (ROOT / "crates/configuration/src/server.rs").read_text()
    return int(re.search(r"AFTER_DRAIN: Duration = Duration::from_secs\((\d+)\);", source).group(1))


def all_combinations():
    """Every choice that the components' READMEs allow."""
    named = {tuple(components): name for name, components in COMBINATIONS.items()}
    production = yaml.safe_load((K8S / "production" / "kustomization.yaml").read_text())["components"]
    as_it_stands = {pathlib.Path(component).name for component in production}
    everything = {}
    for scaling, delivery, secrets, monitoring in itertools.product(
        ([], ["autoscaling"], ["autoscaling", "autoscaling-older-clusters"]),
        ([], ["istio"], ["istio", "blue-green"], ["istio", "canary"]),
        ([], ["external-secrets"]),
        ([], ["monitoring"]),
    ):
        # A Rollout leaves the number of its pods to the autoscaler.
        if len(delivery) == 2 and not scaling:
            continue
        components = [*scaling, *delivery, *secrets, *monitoring]
        if set(components) != as_it_stands:
            everything[named.pop(tuple(components), "+".join(components))] = components
    assert not named, f"{named} is no combination that the READMEs allow"
    return everything


def tool(name):
    """Where a program is. One that is missing has checked nothing, which is a failure."""
    program = shutil.which(name)
    assert program, f"{name} is missing; scripts/k8s/test.sh has it on the PATH"
    return program


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
    """The rendered resources of `staging`, `production` or a combination."""
    if name in ("staging", "production"):
        return render(K8S / name)
    production = yaml.safe_load((K8S / "production" / "kustomization.yaml").read_text())
    with tempfile.TemporaryDirectory(dir=K8S, prefix=".test-") as folder:
        folder = pathlib.Path(folder)
        shutil.copy(K8S / "production" / "namespace.yaml", folder)
        production["components"] = [f"../components/{component}" for component in EVERYTHING[name]]
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(production))
        return render(folder)


EVERYTHING = all_combinations()


def every_overlay():
    return ["staging", "production", *EVERYTHING]


def components_of(name):
    """The names of the components that an overlay is made of."""
    if name in EVERYTHING:
        return EVERYTHING[name]
    listed = yaml.safe_load((K8S / name / "kustomization.yaml").read_text())["components"]
    return [pathlib.Path(component).name for component in listed]


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


def app(resources):
    return find(resources, "Deployment", "mapleai-app")


def container(resources):
    (only,) = app(resources)["spec"]["template"]["spec"]["containers"]
    return only


def config_files(name):
    """The configuration that pods of this overlay read: file name -> text."""
    (config,) = [item for item in of_kind(overlay(name), "ConfigMap") if item["metadata"]["name"].startswith("mapleai-config")]
    return config["data"]


def schemas():
    """Where the schemas of custom resources are, or nothing where somebody does without them."""
    given = os.environ.get("KUBE_SCHEMAS")
    if given == "none":
        return None
    folder = pathlib.Path(given).resolve() if given else ROOT.parent / "shared" / "schemas"
    wanted = "KUBE_SCHEMAS must name a folder with <group>/<kind>_<version>.json, or be `none` to do without"
    assert folder.is_dir() or not (given or os.environ.get("CI")), f"{folder} is not a folder. {wanted}"
    return folder if folder.is_dir() else None
