"""Every number of the deployment strategy is in what is rendered, for both overlays and every combination of components."""

import re

import pytest
from manifests import (
    ROOT,
    after_drain,
    app,
    config_files,
    container,
    every_overlay,
    find,
    of_kind,
    overlay,
    pod_templates,
    seconds,
)


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
    (port,) = [port["containerPort"] for port in main["ports"] if port["name"] == "http"]
    assert port == 3000, f"port is {port}, not 3000"
    for kind, resource, expected in [
        ("requests", "memory", "512Mi"),
        ("requests", "cpu", "250m"),
        ("limits", "memory", "1Gi"),
        ("limits", "cpu", "500m"),
    ]:
        found = main["resources"][kind][resource]
        assert found == expected, f"{kind}: {resource} is {found}, not {expected}"
    url = next(variable for variable in main["env"] if variable["name"] == "DATABASE_URL")
    assert url["valueFrom"]["secretKeyRef"] == {"name": "db-secret", "key": "url"}
    service = find(resources, "Service", "mapleai-service")
    assert service["spec"]["selector"] == {"app": "mapleai-app"}
    assert service["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("name", every_overlay())
def test_probes_wait_longer_than_the_server_may_take(name):
    main = container(overlay(name))
    liveness, readiness, startup = (main[f"{probe}Probe"] for probe in ("liveness", "readiness", "startup"))
    # The strategy says 3000, which strangers can fill: docs/decisions/0036-probes-on-the-operations-listener.md.
    assert {port["name"]: port["containerPort"] for port in main["ports"]}["ops"] == 9464
    assert liveness["httpGet"] == {"path": "/api/health?probe=liveness", "port": "ops"}
    assert (liveness["initialDelaySeconds"], liveness["periodSeconds"]) == (30, 10), "liveness: delay 30 s, period 10 s"
    assert liveness["timeoutSeconds"] > 5, "the health budget is 5 s"
    assert readiness["httpGet"] == {"path": "/api/ready", "port": "ops"}
    assert (readiness["initialDelaySeconds"], readiness["periodSeconds"]) == (5, 5), "readiness: delay 5 s, period 5 s"
    assert readiness["timeoutSeconds"] > 3, "the readiness budget is 3 s"
    wanted = {"path": "/api/health?probe=liveness", "port": "ops"}
    assert startup["httpGet"] == wanted, "a database that is late must not restart pods"


@pytest.mark.parametrize("name", every_overlay())
def test_a_pod_has_time_to_drain(name):
    template = app(overlay(name))["spec"]["template"]["spec"]
    (main,) = template["containers"]
    sleep = main["lifecycle"]["preStop"]["sleep"]["seconds"]
    defaults = config_files(name)["default.toml"]
    delay, timeout = (seconds(defaults, key) for key in ("drain_delay", "drain_timeout"))
    variables = {one["name"]: one.get("value") for one in main["env"]}
    # The journal goes with the pod: its records get longer than a failover takes to reach the database.
    assert variables["MAPLE__USAGE__JOURNAL_OUTLIVES_STOP"] == "false"
    records = int(variables["MAPLE__USAGE__STOP_TIMEOUT"].removesuffix("s"))
    assert records >= 60
    # Last words, answers kept, pools: the server refuses less.
    after = after_drain()
    needed = sleep + delay + timeout + records + after
    given = template["terminationGracePeriodSeconds"]
    assert given >= needed, f"{given} s are too few: {sleep} + {delay} + {timeout} + {records} + {after}"
    assert variables["MAPLE__SERVER__TERMINATION_GRACE"] == f"{given - sleep}s", "the process checks its own drain against it"


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


def used_secrets(name):
    """(secret, key) of everything that reads one."""
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
    for alerting in of_kind(overlay(name), "AlertmanagerConfig"):
        for receiver in alerting["spec"]["receivers"]:
            for webhook in receiver.get("webhookConfigs", []):
                used.add((webhook["urlSecret"]["name"], webhook["urlSecret"]["key"]))
            for chat in receiver.get("slackConfigs", []):
                used.add((chat["apiURL"]["name"], chat["apiURL"]["key"]))
    return used


def made_secrets(name):
    """What makes the secrets, and the (secret, key) that it makes."""
    external = of_kind(overlay(name), "ExternalSecret")
    if not external:
        return "docs/DEPLOYMENT.md", documented_secrets()
    made = {(secret["spec"]["target"]["name"], entry["secretKey"]) for secret in external for entry in secret["spec"]["data"]}
    return "an ExternalSecret", made


def documented_secrets():
    """`kubectl create secret generic NAME ... --from-literal=KEY=...` or `--from-file=KEY=...`."""
    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text().replace("\\\n", " ")
    made = set()
    for name, rest in re.findall(r"create secret generic (\S+)(.*)", text):
        made |= {(name, key) for key in re.findall(r"--from-(?:literal|file)=([a-z-]+)=", rest)}
    return made


@pytest.mark.parametrize("name", every_overlay())
def test_every_secret_that_is_named_is_made(name):
    """Where an operator makes the secrets it makes all keys; elsewhere docs/DEPLOYMENT.md says how, with all keys."""
    used, (where, made) = used_secrets(name), made_secrets(name)
    missing = used - made
    assert not missing, f"{where} makes no {', '.join('/'.join(pair) for pair in sorted(missing))}"
    # Alerting's are there for whoever takes monitoring; staging pages nobody.
    unused = {pair for pair in made - used if pair[0] != "mapleai-alerting"}
    assert not unused, f"nobody uses {unused}"


@pytest.mark.parametrize("name", every_overlay())
def test_rotated_secrets_are_followed(name):
    """What the service reads while it runs comes as mounted files that change, never by `subPath`, which does not."""
    main = container(overlay(name))
    mounts = {mount["name"]: mount for mount in main["volumeMounts"]}
    assert not [mount for mount in mounts.values() if "subPath" in mount]
    files = {variable["name"]: variable["value"] for variable in main["env"] if variable["name"].endswith("_FILE")}
    assert {"DATABASE_URL_FILE", "REDIS_URL_FILE", "MAPLE__AUTH__SIGNING_KEYS__K1_FILE"} <= set(files)
    volumes = app(overlay(name))["spec"]["template"]["spec"]["volumes"]
    there = {
        f"{mounts[volume['name']]['mountPath']}/{entry['path']}"
        for volume in volumes
        if "secret" in volume
        for entry in volume["secret"]["items"]
    }
    assert set(files.values()) == there, "each mounted secret has its variable, and each variable its file"
    for secret in of_kind(overlay(name), "ExternalSecret"):
        limit = 3600 if secret["metadata"]["name"] == "mapleai-alerting" else 60
        number, unit = re.fullmatch(r"(\d+)([smh])", secret["spec"]["refreshInterval"]).groups()
        assert int(number) * {"s": 1, "m": 60, "h": 3600}[unit] <= limit, f"{secret['metadata']['name']} is late to rotate"
        assert secret["spec"]["target"]["deletionPolicy"] == "Retain", "a secret that is away must not take the service with it"


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
    assert not of_kind(overlay("production"), "Secret"), "no secret is in the repository"


def test_staging_rolls_the_deployment_and_shares_what_production_brings():
    resources = overlay("staging")
    kinds = {item["kind"] for item in resources}
    assert {"HorizontalPodAutoscaler", "Gateway", "Certificate", "PodMonitor", "AlertmanagerConfig"} <= kinds
    assert not {"Rollout", "AnalysisTemplate", "ExternalSecret", "PrometheusRule", "Secret"} & kinds
    strategy = app(resources)["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    receivers = {receiver["name"] for receiver in find(resources, "AlertmanagerConfig", "mapleai")["spec"]["receivers"]}
    assert receivers == {"chat", "nobody"}, "nobody is woken for staging"


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
        assert set(config_files(name)) == {"default.toml", "staging.toml", "production.toml"}
