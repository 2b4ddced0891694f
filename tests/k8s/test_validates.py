"""Both overlays and every combination of components render, and validate strictly: no property that a kind does not know."""

import functools
import json
import re

import jsonschema
import kubernetes_validate
import pytest
import rules
from manifests import ROOT, components_of, every_overlay, kubectl, of_kind, overlay, pod_templates, schemas

KUBERNETES = "1.35.0"
# The first whose schemas know each field that is used: all of them but the autoscaler's tolerances.
OLDER = "1.32.0"


def test_kubectl_is_recent():
    version = json.loads(kubectl("version", "--client", "--output", "json").stdout)["clientVersion"]["gitVersion"]
    major, minor = map(int, re.match(r"v(\d+)\.(\d+)", version).groups())
    assert (major, minor) >= (1, 30), f"kubectl is {version}: install version 1.30 or newer"


def is_custom(item):
    group = item["apiVersion"].rpartition("/")[0]
    return "." in group and not group.endswith("k8s.io")


def label(name, item):
    return f"{name}: {item['kind']}/{item['metadata']['name']}"


@pytest.mark.parametrize("name", every_overlay())
def test_built_in_kinds_validate_strictly(name):
    older = "autoscaling-older-clusters" in components_of(name)
    for item in overlay(name):
        if not is_custom(item):
            try:
                kubernetes_validate.validate(item, OLDER if older else KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{label(name, item)}: {'/'.join(map(str, error.path))}: {error.message}")


@pytest.mark.parametrize("name", every_overlay())
def test_custom_resources_validate_strictly(name):
    custom = [item for item in overlay(name) if is_custom(item)]
    folder = schemas()
    if custom and not folder:
        pytest.skip(f"NOT CHECKED, there are no schemas (KUBE_SCHEMAS): {', '.join(sorted({item['kind'] for item in custom}))}")
    for item in custom:
        group, _, version = item["apiVersion"].rpartition("/")
        file = folder / group / f"{item['kind'].lower()}_{version}.json"
        assert file.is_file(), f"{label(name, item)}: there is no {file}"
        faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in validator(file).iter_errors(item)]
        assert not faults, f"{label(name, item)}: {faults}"
        refused = rules.broken(json.loads(file.read_text()), item)
        assert not refused, f"{label(name, item)}: an API server refuses {refused}"


def test_rules_that_only_an_api_server_evaluates_are_evaluated():
    """A time limit of nothing passes each JSON schema, and no API server."""
    folder = schemas()
    if not folder:
        pytest.skip("NOT CHECKED, there are no schemas (KUBE_SCHEMAS)")
    schema = json.loads((folder / "networking.istio.io" / "virtualservice_v1.json").read_text())
    (route,) = [item for item in overlay("production") if item["kind"] == "VirtualService"]
    assert not rules.broken(schema, route)
    route = json.loads(json.dumps(route))
    route["spec"]["http"][0]["timeout"] = "0s"
    (refused,) = rules.broken(schema, route)
    assert refused.startswith("/spec/http/0/timeout: "), refused


@functools.cache
def validator(file):
    schema = strict(json.loads(file.read_text()))
    schema["properties"].update(dict.fromkeys(("apiVersion", "kind", "metadata"), {}))
    return jsonschema.Draft7Validator(schema)


def strict(schema):
    """Refuses properties that a schema does not know, as the API server does with strict field validation."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    return schema


@pytest.mark.parametrize("name", every_overlay())
def test_everything_is_in_its_namespace(name):
    """The overlay's, but for what the gateway reads in its own, and what has none."""
    environment = "staging" if name == "staging" else "production"
    for item in overlay(name):
        expected = {"Namespace": None, "PriorityClass": None, "Certificate": "istio-ingress"}.get(item["kind"], environment)
        assert item["metadata"].get("namespace") == expected, label(name, item)
    names = [(item["kind"], item["metadata"]["name"]) for item in overlay(name)]
    assert len(set(names)) == len(names), names


@pytest.mark.parametrize("name", every_overlay())
def test_every_config_map_and_service_account_that_is_named_is_made(name):
    """Kustomize puts a hash behind names; a reference that it does not know keeps the old one."""
    made = {(item["kind"], item["metadata"]["name"]) for item in overlay(name)}
    for item, template in pod_templates(overlay(name)):
        spec = template["spec"]
        assert ("ServiceAccount", spec["serviceAccountName"]) in made, label(name, item)
        named = [entry["configMapRef"]["name"] for main in spec["containers"] for entry in main.get("envFrom", [])]
        named += [volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume]
        assert len(named) == 2, label(name, item)
        for reference in named:
            assert ("ConfigMap", reference) in made, f"{label(name, item)}: no ConfigMap {reference}"
            assert re.search(r"-[a-z0-9]{10}$", reference), f"{reference}: pods must change with what is in it"
    for store in of_kind(overlay(name), "SecretStore"):
        account = store["spec"]["provider"]["aws"]["auth"]["jwt"]["serviceAccountRef"]["name"]
        assert ("ServiceAccount", account) in made, label(name, store)


def test_every_component_is_tried():
    components = {path.parent.name for path in (ROOT / "k8s/components").glob("*/kustomization.yaml")}
    tried = {component for name in every_overlay() for component in components_of(name)}
    # The analysis comes with a strategy; the log's configuration is for another namespace: tests/monitoring.
    assert components - tried == {"analysis", "logging"}
    for component in components:
        assert (ROOT / "k8s/components" / component / "README.md").is_file(), f"{component} does not say when to take it"
