"""What is in the mesh, what goes past it, and who may reach whom: gateway, probes, Prometheus, the analysis of releases."""

import re
import urllib.parse

import pytest
import yaml
from manifests import app, components_of, container, every_overlay, find, of_kind, overlay

MESHED = [name for name in every_overlay() if "istio" in components_of(name)]
DELIVERED = [name for name in MESHED if {"blue-green", "canary"} & set(components_of(name))]
WATCHED = [name for name in every_overlay() if "monitoring" in components_of(name)]
OPS = 9464


def template(name):
    return app(overlay(name))["spec"]["template"]


def allowed_in(name, namespace):
    """Ports at which the service's pods may be reached from a namespace."""
    ports = set()
    for policy in of_kind(overlay(name), "NetworkPolicy"):
        if policy["spec"]["podSelector"].get("matchLabels") != {"app": "mapleai-app"}:
            continue
        for rule in policy["spec"].get("ingress", []):
            labels = [origin.get("namespaceSelector", {}).get("matchLabels", {}) for origin in rule["from"]]
            if {"kubernetes.io/metadata.name": namespace} in labels:
                ports |= {port["port"] for port in rule["ports"]}
    return ports


@pytest.mark.parametrize("name", every_overlay())
def test_nobody_reaches_more_than_there_is_a_reason_for(name):
    assert allowed_in(name, "istio-ingress") == {3000}
    assert allowed_in(name, "monitoring") == {OPS}
    smoke = [item for item in of_kind(overlay(name), "AnalysisTemplate") if item["metadata"]["name"] == "mapleai-smoke"]
    used = smoke and "mapleai-smoke" in str(of_kind(overlay(name), "Rollout"))
    assert allowed_in(name, "argo-rollouts") == ({OPS} if used else set())


@pytest.mark.parametrize("name", MESHED)
def test_the_host_is_one_and_the_gateway_finds_its_certificate(name):
    resources = overlay(name)
    (variables,) = [
        item["data"] for item in of_kind(resources, "ConfigMap") if item["metadata"]["name"].startswith("mapleai-environment")
    ]
    host = urllib.parse.urlsplit(variables["MAPLE__SERVER__PUBLIC_URL"]).hostname
    gateway = find(resources, "Gateway", "mapleai")["spec"]
    assert [server["hosts"] for server in gateway["servers"]] == [[host], [host]]
    assert find(resources, "VirtualService", "mapleai")["spec"]["hosts"] == [host]
    certificate = find(resources, "Certificate", host)
    assert certificate["spec"]["dnsNames"] == [host]
    assert certificate["spec"]["secretName"] == gateway["servers"][0]["tls"]["credentialName"]
    # Istio looks for `credentialName` where the gateway runs.
    assert certificate["metadata"]["namespace"] == "istio-ingress"
    assert gateway["servers"][0]["tls"]["minProtocolVersion"] == "TLSV1_2"
    assert gateway["servers"][1]["tls"] == {"httpsRedirect": True}


def test_environments_share_a_gateway_without_getting_in_each_other_s_way():
    names = [{item["metadata"]["name"] for item in of_kind(overlay(name), "Certificate")} for name in ("staging", "production")]
    assert not names[0] & names[1]


@pytest.mark.parametrize("name", MESHED)
def test_strict_for_callers_and_past_the_mesh_for_operations(name):
    peers = find(overlay(name), "PeerAuthentication", "mapleai")["spec"]
    assert peers["mtls"] == {"mode": "STRICT"}
    assert peers["portLevelMtls"] == {str(OPS): {"mode": "DISABLE"}}, "the port is not the sidecar's"
    annotations = template(name)["metadata"]["annotations"]
    assert annotations["traffic.sidecar.istio.io/excludeInboundPorts"] == str(OPS)
    assert set(annotations["traffic.sidecar.istio.io/excludeOutboundPorts"].split(",")) == {"5432", "6379", "6432"}
    assert annotations["sidecar.istio.io/rewriteAppHTTPProbers"] == "false", "probes go past the sidecar, as the port does"
    main = container(overlay(name))
    assert {main[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")} == {"ops"}


@pytest.mark.parametrize("name", MESHED)
def test_callers_have_addresses_of_their_own(name):
    """A service that takes all callers for one lets each use up the limits of all."""
    variables = {variable["name"]: variable.get("value") for variable in container(overlay(name))["env"]}
    trusted = variables["MAPLE__SERVER__TRUSTED_PROXIES"].split(",")
    assert {"127.0.0.6", "::6"} == set(trusted), "from there Istio's sidecar hands on what it has let in"


@pytest.mark.parametrize("name", MESHED)
def test_the_sidecar_outlives_the_service_s_new_requests_and_goes_with_the_last(name):
    proxy = yaml.safe_load(template(name)["metadata"]["annotations"]["proxy.istio.io/config"])
    assert proxy["holdApplicationUntilProxyStarts"] is True
    assert proxy["proxyMetadata"]["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] == "true"
    assert "terminationDrainDuration" not in proxy, "it has no effect beside the former"
    sleep = container(overlay(name))["lifecycle"]["preStop"]["sleep"]["seconds"]
    (least,) = re.fullmatch(r"(\d+)s", proxy["proxyMetadata"]["MINIMUM_DRAIN_DURATION"]).groups()
    assert int(least) >= sleep + 5, "preStop and drain_delay: until then new requests come"


@pytest.mark.parametrize("name", MESHED)
def test_the_migration_has_no_sidecar(name):
    (job,) = of_kind(overlay(name), "Job")
    assert job["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false", "a Job with one never ends"


@pytest.mark.parametrize("name", MESHED)
def test_the_route_leads_to_ports_that_services_have(name):
    for route in find(overlay(name), "VirtualService", "mapleai")["spec"]["http"]:
        for destination in route["route"]:
            service = find(overlay(name), "Service", destination["destination"]["host"])
            ports = {port["port"]: port for port in service["spec"]["ports"]}
            port = ports[destination["destination"]["port"]["number"]]
            assert port["targetPort"] == "http", "operations are not for callers"
            # Istio takes the protocol from here.
            assert port["appProtocol"] == "http" and port["name"] == "http"
        assert "timeout" not in route, "streams take long"
        assert route["retries"] == {"attempts": 0}


@pytest.mark.parametrize("name", DELIVERED)
def test_the_analysis_asks_what_it_can_reach(name):
    """The controller and Prometheus are outside the mesh."""
    for item in of_kind(overlay(name), "AnalysisTemplate"):
        arguments = {argument["name"]: argument.get("value") for argument in item["spec"]["args"]}
        for metric in item["spec"]["metrics"]:
            if "web" in metric["provider"]:
                url = urllib.parse.urlsplit(metric["provider"]["web"]["url"].replace("{{args.namespace}}", "production"))
                assert url.port == OPS, f"{metric['name']}: port 3000 takes none but those in the mesh"
                service = find(overlay(name), "Service", url.hostname.removesuffix(".production.svc.cluster.local"))
                assert {"ops": "ops"} == {
                    port["name"]: port["targetPort"] for port in service["spec"]["ports"] if port["port"] == url.port
                }
            else:
                assert metric["provider"]["prometheus"]["address"] == "{{args.prometheus}}"
                address = urllib.parse.urlsplit(arguments["prometheus"])
                # The Operator's own Service, in the namespace from which pods are scraped.
                assert (address.hostname, address.port) == ("prometheus-operated.monitoring.svc.cluster.local", 9090)


@pytest.mark.parametrize("name", WATCHED)
def test_prometheus_gets_what_the_analysis_asks_for(name):
    monitor = find(overlay(name), "PodMonitor", "mapleai")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= template(name)["metadata"]["labels"].items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    ports = {port["name"]: port["containerPort"] for port in container(overlay(name))["ports"]}
    assert ports[endpoint["port"]] == OPS
    assert "rollouts-pod-template-hash" in monitor["podTargetLabels"]
    for item in of_kind(overlay(name), "AnalysisTemplate"):
        for metric in item["spec"]["metrics"]:
            query = re.sub(r"\{\{args\.([a-z-]+)\}\}", r"<\1>", metric["provider"].get("prometheus", {}).get("query", ""))
            for selector in re.findall(r"\{[^{}]*\}", query):
                assert 'namespace="<namespace>"' in selector, f"{metric['name']}: {selector}"
                assert re.search('rollouts_pod_template_hash="<(canary|stable)-hash>"', selector), f"{metric['name']}: {selector}"


@pytest.mark.parametrize("name", every_overlay())
def test_versions_are_spread_apart_by_a_label_that_pods_have(name):
    label = "rollouts-pod-template-hash" if of_kind(overlay(name), "Rollout") else "pod-template-hash"
    for constraint in template(name)["spec"]["topologySpreadConstraints"]:
        assert constraint["matchLabelKeys"] == [label], f"{name}: {constraint['topologyKey']}"
