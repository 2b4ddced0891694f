"""Overlays and combinations render and validate; every number of the deployment strategy is in what is rendered."""

import json
import re

import jsonschema
import kubernetes_validate
import pytest

from manifests import every_overlay, find, of_kind, overlay, pod_templates, schemas

KUBERNETES = "1.35.0"
# The first whose schemas know each field that is used: all of them but the autoscaler's tolerances.
OLDER = "1.32.0"


@pytest.mark.parametrize("name", every_overlay())
def test_validates_strictly(name):
    folder = schemas()
    unchecked = []
    for item in overlay(name):
        group, _, version = item["apiVersion"].rpartition("/")
        label = f"{name}: {item['kind']}/{item['metadata']['name']}"
        if "." in group and not group.endswith("k8s.io"):
            schema = folder and folder / group / f"{item['kind'].lower()}_{version}.json"
            if not schema:
                unchecked.append(label)
                continue
            assert schema.is_file(), f"{label}: no schema {schema}"
            known = strict(json.loads(schema.read_text()))
            known["properties"].update(dict.fromkeys(("apiVersion", "kind", "metadata"), {}))
            validator = jsonschema.Draft7Validator(known)
            faults = [f"{'/'.join(map(str, fault.path))}: {fault.message}" for fault in validator.iter_errors(item)]
            assert not faults, f"{label}: {faults}"
        else:
            kubernetes = OLDER if name.startswith("older") else KUBERNETES
            try:
                kubernetes_validate.validate(item, kubernetes, strict=True)
            except kubernetes_validate.ValidationError as error:
                pytest.fail(f"{label}: {'/'.join(map(str, error.path))}: {error.message}")
    if unchecked:
        pytest.skip(f"KUBE_SCHEMAS is not set, so these were not validated: {unchecked}")


def strict(schema):
    """Refuses properties that a schema does not know, as the API server does with strict field validation."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if (
            "properties" in schema
            and "additionalProperties" not in schema
            and not schema.get("x-kubernetes-preserve-unknown-fields")
        ):
            schema["additionalProperties"] = False
        return schema
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    return schema


def app(resources):
    return find(resources, "Deployment", "mapleai-app")


def container(resources):
    (only,) = app(resources)["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("name", every_overlay())
def test_the_deployment_is_the_strategy_s(name):
    resources = overlay(name)
    environment = "staging" if name == "staging" else "production"
    deployment, main = app(resources), container(resources)
    assert deployment["metadata"]["namespace"] == environment
    assert find(resources, "Namespace", environment)
    assert main["name"] == "mapleai-app"
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": "mapleai-app"}
    assert deployment["spec"]["template"]["metadata"]["labels"]["app"] == "mapleai-app"
    assert {"name": "http", "containerPort": 3000} in main["ports"]
    assert main["resources"]["requests"]["memory"] == "512Mi"
    assert main["resources"]["requests"]["cpu"] == "250m"
    assert main["resources"]["limits"]["memory"] == "1Gi"
    assert main["resources"]["limits"]["cpu"] == "500m"
    url = next(variable for variable in main["env"] if variable["name"] == "DATABASE_URL")
    assert url["valueFrom"]["secretKeyRef"] == {"name": "db-secret", "key": "url"}
    service = find(resources, "Service", "mapleai-service")
    assert service["spec"]["selector"] == {"app": "mapleai-app"}
    assert service["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", every_overlay())
def test_probes_wait_longer_than_the_server_may_take(name):
    main = container(overlay(name))
    liveness, readiness, startup = (main[f"{probe}Probe"] for probe in ("liveness", "readiness", "startup"))
    assert liveness["httpGet"] == {"path": "/api/health?probe=liveness", "port": 3000}
    assert (liveness["initialDelaySeconds"], liveness["periodSeconds"]) == (30, 10)
    assert liveness["timeoutSeconds"] > 5, "the health budget is 5 s"
    assert readiness["httpGet"] == {"path": "/api/ready", "port": 3000}
    assert (readiness["initialDelaySeconds"], readiness["periodSeconds"]) == (5, 5)
    assert readiness["timeoutSeconds"] > 3, "the readiness budget is 3 s"
    assert startup["httpGet"]["path"] == "/api/health?probe=liveness", "a database that is late must not restart pods"


@pytest.mark.parametrize("name", every_overlay())
def test_a_pod_has_time_to_drain(name):
    template = app(overlay(name))["spec"]["template"]["spec"]
    (main,) = template["containers"]
    sleep = main["lifecycle"]["preStop"]["sleep"]["seconds"]
    defaults = (overlay_config(name))["default.toml"]
    delay, timeout = (seconds(defaults, key) for key in ("drain_delay", "drain_timeout"))
    # Last words, answers kept, records, pools: docs/OPERATIONS.md.
    assert template["terminationGracePeriodSeconds"] >= sleep + delay + timeout + 25


def overlay_config(name):
    (config,) = [item for item in of_kind(overlay(name), "ConfigMap") if item["metadata"]["name"].startswith("mapleai-config")]
    return config["data"]


def seconds(toml, key):
    return int(re.search(rf'^{key} = "(\d+)s"$', toml, re.MULTILINE).group(1))


@pytest.mark.parametrize("name", every_overlay())
def test_pods_are_locked_up(name):
    for item, template in pod_templates(overlay(name)):
        if not item["metadata"]["name"].startswith("mapleai"):
            continue
        spec, label = template["spec"], f"{item['kind']}/{item['metadata']['name']}"
        assert spec["automountServiceAccountToken"] is False, label
        assert spec["securityContext"]["runAsNonRoot"] is True, label
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["runAsGroup"] == 1001, label
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, label
        for main in spec["containers"]:
            context = main["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, label
            assert context["allowPrivilegeEscalation"] is False, label
            assert context["capabilities"] == {"drop": ["ALL"]}, label
    assert find(overlay(name), "ServiceAccount", "mapleai")["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", every_overlay())
def test_images_come_by_digest_and_the_migration_is_named_after_it(name):
    resources = overlay(name)
    images = {
        main["image"] for _, template in pod_templates(resources) for main in template["spec"]["containers"]
    }
    ours = {image for image in images if "mapleai" in image}
    assert len(ours) == 1, f"all of ours run one image, not {ours}"
    (image,) = ours
    digest = re.fullmatch(r"registry\.mapleai\.com/mapleai/app@sha256:([0-9a-f]{64})", image)
    assert digest, f"{image} is not by digest"
    assert find(resources, "Job", f"mapleai-migrate-{digest.group(1)[:12]}"), "run make pin"
    assert not [image for image in images if image.endswith(":latest") or ":" not in image], images


@pytest.mark.parametrize("name", every_overlay())
def test_it_is_spread_and_protected(name):
    resources = overlay(name)
    template = app(resources)["spec"]["template"]["spec"]
    keys = {constraint["topologyKey"] for constraint in template["topologySpreadConstraints"]}
    assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert find(resources, "PodDisruptionBudget", "mapleai-app")["spec"]["maxUnavailable"] == 1
    assert find(resources, "PriorityClass", template["priorityClassName"])
    denied = find(resources, "NetworkPolicy", "default-deny")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    let_in = find(resources, "NetworkPolicy", "mapleai-in")["spec"]["ingress"]
    assert {port["port"] for rule in let_in for port in rule["ports"]} == {3000, 9464}
    let_out = find(resources, "NetworkPolicy", "mapleai-out")["spec"]["egress"]
    assert {53, 443, 5432, 6379} <= {port["port"] for rule in let_out for port in rule["ports"]}


@pytest.mark.parametrize("name", every_overlay())
def test_every_secret_that_is_named_is_made(name):
    """Where an operator makes the secrets it makes all keys; elsewhere docs/DEPLOYMENT.md says how, with all keys."""
    used = set()
    for item, template in pod_templates(overlay(name)):
        for main in template["spec"]["containers"]:
            for variable in main.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    used.add((reference["name"], reference["key"]))
        for volume in template["spec"].get("volumes", []):
            if "secret" in volume:
                items = volume["secret"].get("items")
                assert items, f"{item['metadata']['name']}: volume {volume['name']} names no keys"
                used |= {(volume["secret"]["secretName"], entry["key"]) for entry in items}
    external = of_kind(overlay(name), "ExternalSecret")
    if external:
        made = {
            (secret["spec"]["target"]["name"], entry["secretKey"]) for secret in external for entry in secret["spec"]["data"]
        }
        where = "an ExternalSecret"
    else:
        made, where = documented_secrets(), "docs/DEPLOYMENT.md"
    missing = used - made
    assert not missing, f"{where} makes no {', '.join('/'.join(pair) for pair in sorted(missing))}"
    assert not made - used, f"nobody uses {made - used}"


def documented_secrets():
    """`kubectl create secret generic NAME ... --from-literal=KEY=...` or `--from-file=KEY=...`."""
    from manifests import ROOT

    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text().replace("\\\n", " ")
    made = set()
    for name, rest in re.findall(r"create secret generic (\S+)(.*)", text):
        made |= {(name, key) for key in re.findall(r"--from-(?:literal|file)=([a-z-]+)=", rest)}
    return made


def test_the_number_of_pods_is_the_autoscaler_s_where_there_is_one():
    for name in every_overlay():
        resources = overlay(name)
        scalers = of_kind(resources, "HorizontalPodAutoscaler")
        rollouts = of_kind(resources, "Rollout")
        replicas = app(resources)["spec"].get("replicas")
        if not scalers:
            assert replicas == 3, f"{name}: the strategy has 3 replicas"
            continue
        (scaler,) = scalers
        assert scaler["spec"]["minReplicas"] == 3, f"{name}: the strategy has 3 replicas"
        target = scaler["spec"]["scaleTargetRef"]
        if rollouts:
            assert (target["apiVersion"], target["kind"]) == ("argoproj.io/v1alpha1", "Rollout"), name
            assert replicas == 0, f"{name}: the Rollout runs the pods"
            assert "replicas" not in rollouts[0]["spec"], name
        else:
            assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment"), name
            assert replicas is None, f"{name}: an apply must not undo the autoscaler"
        assert target["name"] == "mapleai-app"


def test_production_has_what_it_is_to_have():
    kinds = {item["kind"] for item in overlay("production")}
    assert {"Rollout", "AnalysisTemplate", "Gateway", "Certificate", "VirtualService", "ExternalSecret"} <= kinds
    assert {"PrometheusRule", "PodMonitor"} <= kinds
    assert not {"Rollout", "Gateway", "ExternalSecret"} & {item["kind"] for item in overlay("staging")}
    assert not of_kind(overlay("production"), "Secret"), "no secret is in the repository"


def test_environments_are_named_to_the_service():
    for name, environment in (("staging", "staging"), ("production", "production")):
        resources = overlay(name)
        (variables,) = [
            item["data"]
            for item in of_kind(resources, "ConfigMap")
            if item["metadata"]["name"].startswith("mapleai-environment")
        ]
        assert variables["MAPLE_ENV"] == environment
        assert variables["MAPLE__SERVER__PUBLIC_URL"].startswith("https://")
        assert set(overlay_config(name)) == {"default.toml", "staging.toml", "production.toml"}
