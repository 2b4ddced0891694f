"""The deployment strategy's rules, gone through with the rendered autoscaler on a table of loads; what it measures; connections."""

import re
import tomllib

import pytest
import yaml
from autoscaler import Autoscaler
from manifests import K8S, find, of_kind, overlay

# Those with tolerances of their own, and those without.
NEWER = ["staging", "production", "canary", "rolling-in-a-mesh"]
OLDER = ["older-cluster", "older-cluster-rolling"]


def spec(name):
    return find(overlay(name), "HorizontalPodAutoscaler", "mapleai-app")["spec"]


def scaler(name, pods=4, versions=1):
    return Autoscaler(spec(name), pods, versions)


def moved(ran, pods=4):
    return "up" if ran.pods > pods else "down" if ran.pods < pods else "same"


CALM = {"cpu": 50, "memory": 55}
QUEUE, P95, SHED = (
    "maple_request_queue_length",
    "maple_http_request_duration_p95_seconds",
    "maple_requests_shed_per_second",
)


@pytest.mark.parametrize("name", NEWER)
@pytest.mark.parametrize(
    ("load", "minutes", "direction"),
    [
        # The strategy's rules, on both sides of each number.
        ({"cpu": 71, "memory": 55}, 5, "up"),
        ({"cpu": 70, "memory": 55}, 60, "same"),
        ({"cpu": 71, "memory": 55}, 4.75, "same"),
        ({"cpu": 50, "memory": 81}, 5, "up"),
        ({"cpu": 50, "memory": 79}, 60, "same"),
        ({"cpu": 50, "memory": 81}, 4.75, "same"),
        ({"cpu": 29, "memory": 33}, 10, "down"),
        ({"cpu": 29, "memory": 33}, 9.75, "same"),
        ({"cpu": 30, "memory": 33}, 60, "same"),
        # The strategy would go down below 50 % of memory; one pair of tolerances for all metrics goes down below 34 %.
        ({"cpu": 29, "memory": 35}, 60, "same"),
        # One that is low does not outvote one that is high.
        ({"cpu": 20, "memory": 85}, 5, "up"),
        ({"cpu": 95, "memory": 20}, 5, "up"),
        ({**CALM, QUEUE: 15}, 5, "up"),
        ({**CALM, QUEUE: 14}, 60, "same"),
        ({**CALM, QUEUE: 0}, 60, "same"),
        ({**CALM, P95: 0.71}, 5, "up"),
        ({**CALM, P95: 0.69}, 60, "same"),
        ({**CALM, SHED: 1.5}, 5, "up"),
        ({**CALM, SHED: 1.4}, 60, "same"),
        # All of them low.
        ({"cpu": 10, "memory": 20, QUEUE: 0, P95: 0.1, SHED: 0}, 10, "down"),
        # Calls are turned away although the processors are idle: a limit of connections or of memory, say.
        ({"cpu": 10, "memory": 20, QUEUE: 0, P95: 0.1, SHED: 3}, 5, "up"),
    ],
)
def test_rules(name, load, minutes, direction):
    ran = scaler(name).run(load, int(minutes * 60))
    assert moved(ran) == direction, f"{name}: {load} for {minutes} minutes: {ran.changes}"


@pytest.mark.parametrize("name", NEWER)
def test_the_numbers_of_the_strategy_stand_in_the_manifest(name):
    behavior = spec(name)["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 300, "up after 5 minutes"
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 600, "down after 10 minutes"
    ran = scaler(name)
    cpu, memory = ran.metric("cpu")[0], ran.metric("memory")[0]
    up, down = 1 + ran.tolerance("scaleUp"), 1 - ran.tolerance("scaleDown")
    assert (round(cpu * up), round(cpu * down)) == (70, 30), "CPU: up above 70 %, down below 30 %"
    assert round(memory * up) == 80, "memory: up above 80 %"
    assert memory * down <= 50, "memory: not down above 50 %"


def test_a_peak_of_less_than_five_minutes_and_a_lull_of_less_than_ten_change_nothing():
    ran = scaler("production").run(CALM, 900)
    for _ in range(5):
        ran.run({"cpu": 95, "memory": 55}, 285).run(CALM, 120)
    assert ran.changes == []
    for _ in range(5):
        ran.run({"cpu": 10, "memory": 20}, 585).run(CALM, 120)
    assert ran.changes == []


def test_bounds_hold_up_is_fast_and_down_is_one_pod_in_two_minutes():
    high = scaler("production", pods=3).run({"cpu": 400, "memory": 55}, 480)
    assert high.pods == high.spec["maxReplicas"] == 12, high.changes
    low = scaler("production", pods=12).run({"cpu": 5, "memory": 10}, 7200)
    assert low.pods == low.spec["minReplicas"] == 3
    assert all(before - after == 1 for _, before, after in low.changes)
    times = [at for at, _, _ in low.changes]
    assert all(later - earlier >= 120 for earlier, later in zip(times, times[1:])), "a pod drains for up to 95 s"


@pytest.mark.parametrize("name", ["production", "older-cluster"])
@pytest.mark.parametrize("pods", [3, 7, 12])
@pytest.mark.parametrize("total", range(40, 880, 120))
def test_a_constant_load_settles_where_nobody_has_too_much(name, pods, total):
    """`total` is the CPU of all pods, in percent of what one requests."""
    ran = scaler(name, pods).run_together({"cpu": total, "memory": total}, 4 * 3600)
    assert not [change for change in ran.changes if change[0] > 3 * 3600], f"it goes back and forth: {ran.changes[-4:]}"
    assert total / ran.pods <= 70 or ran.pods == ran.spec["maxReplicas"], f"{total / ran.pods} % on each of {ran.pods}"
    if name in NEWER:
        assert total / ran.pods >= 30 or ran.pods == ran.spec["minReplicas"], f"{total / ran.pods} % on each of {ran.pods}"


def test_an_older_cluster_keeps_the_upper_thresholds():
    assert "tolerance" not in str(spec("older-cluster"))
    for load, direction in [
        ({"cpu": 71, "memory": 55}, "up"),
        ({"cpu": 69, "memory": 65}, "same"),
        ({"cpu": 60, "memory": 80}, "up"),
        ({"cpu": 60, "memory": 79}, "same"),
    ]:
        ran = scaler("older-cluster").run(load, 1800)
        assert moved(ran) == direction, f"{load}: {ran.changes}"
    # It goes down early, but never to where the others would have too much.
    ran = scaler("older-cluster", pods=12).run_together({"cpu": 12 * 55, "memory": 12 * 60}, 7200)
    assert ran.pods == 11, ran.changes


def test_with_an_old_version_standing_by_averages_are_halved():
    """What k8s/components/autoscaling/README.md says of the hour after a blue-green release."""
    both = {"versions": 2}
    assert moved(scaler("production", **both).run({"cpu": 138, "memory": 100}, 3600)) == "same"
    assert moved(scaler("production", **both).run({"cpu": 142, "memory": 100}, 300)) == "up"
    assert moved(scaler("production", **both).run({"cpu": 100, "memory": 100, P95: 0.71}, 300)) == "up"
    assert moved(scaler("production", **both).run({"cpu": 100, "memory": 100, QUEUE: 29}, 300)) == "up"
    main = find(overlay("production"), "Deployment", "mapleai-app")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (main["requests"]["cpu"], main["limits"]["cpu"]) == ("250m", "500m"), "140 % of the request is 70 % of the limit"
    # Down goes to the target at most.
    ran = scaler("production", pods=12, **both).run_together({"cpu": 12 * 35, "memory": 12 * 40}, 7200)
    assert 12 * 35 / ran.pods <= 50 and ran.pods < 12, ran.changes


# --- What is measured. ----------------------------------------------------------------------------------------------------


def adapter_rules():
    text = (K8S / "components/autoscaling/adapter-rules.yaml").read_text()
    return {rule["name"]["as"]: rule for rule in yaml.safe_load(yaml.safe_load(text)["data"]["config.yaml"])["rules"]}


@pytest.mark.parametrize("name", [*NEWER, *OLDER])
def test_each_metric_of_ours_is_served_by_a_rule_of_the_adapter(name):
    """The adapter finds an object's series by a label for each resource; they must be ones that series have."""
    rules = adapter_rules()
    asked = {}
    for metric in spec(name)["metrics"]:
        if metric["type"] == "Pods":
            asked[metric["pods"]["metric"]["name"]] = "pod"
        elif metric["type"] == "Object":
            described = metric["object"]["describedObject"]
            assert find(overlay(name), described["kind"], described["name"])
            asked[metric["object"]["metric"]["name"]] = described["kind"].lower()
    assert set(asked) == set(rules), "the rules of the adapter are those that the autoscaler asks for"
    labels = {"namespace", "pod"}
    for monitor in of_kind(overlay(name), "PodMonitor"):
        for relabeling in monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]:
            labels.add(relabeling["targetLabel"])
            assert relabeling["targetLabel"] != "service" or relabeling["replacement"] == "mapleai-service"
    for metric, resource in asked.items():
        overrides = {entry["resource"]: label for label, entry in rules[metric]["resources"]["overrides"].items()}
        assert {"namespace", resource} <= set(overrides), f"{metric}: no label leads to a {resource}"
        if of_kind(overlay(name), "PodMonitor"):
            assert set(overrides.values()) <= labels, f"{metric}: series have no label {set(overrides.values()) - labels}"
        for label in overrides.values():
            assert f'{label}!=""' in rules[metric]["seriesQuery"], f"{metric}: series without a {label} match"


def test_answers_of_models_do_not_count_as_slow():
    """Nor do the probes' count as fast. The same routes as in the recording rule of response times."""
    query = adapter_rules()[P95]["metricsQuery"]
    (left_out,) = re.findall(r'http_route!~"([^"]+)"', query)
    for rule in of_kind(overlay("production"), "PrometheusRule"):
        for entry in (entry for group in rule["spec"]["groups"] for entry in group["rules"]):
            if entry.get("record") == "maple:http_request_duration_seconds:p95":
                (same,) = set(re.findall(r'http_route!~"([^"]+)"', entry["expr"]))
                assert left_out == same
                return
    pytest.fail("no recording rule of response times")


# --- Connections. ---------------------------------------------------------------------------------------------------------


def versions_at_once(name):
    """How many versions may run at full size: two while one follows another, and those that still stand by."""
    rollouts = of_kind(overlay(name), "Rollout")
    return 2 + (rollouts[0]["spec"]["strategy"]["canary"]["scaleDownDelayRevisionLimit"] if rollouts else 0)


@pytest.mark.parametrize("name", [*NEWER, *OLDER])
def test_connections_fit_with_every_version_at_its_largest(name):
    """Pods x pool, for each version, against what one pooler takes; the poolers' pools against the database."""
    capacity = yaml.safe_load((K8S / "capacity.yaml").read_text())
    config = next(
        item["data"]["default.toml"]
        for item in of_kind(overlay(name), "ConfigMap")
        if item["metadata"]["name"].startswith("mapleai-config")
    )
    pool = tomllib.loads(config)["database"]["max_connections"]
    pods, versions, pooler = spec(name)["maxReplicas"], versions_at_once(name), capacity["pooler"]
    asked = versions * pods * pool + pooler["reserved_client_connections"]
    allowed = pooler["max_client_connections"]
    assert asked <= allowed, (
        f"{versions} versions x {pods} pods x {pool} connections and the reserve are {asked}, PgBouncer takes {allowed}"
    )
    opened, database = pooler["instances"] * pooler["max_pool_size"], capacity["database"]
    assert opened + database["reserved_connections"] <= database["max_connections"], (
        f"{pooler['instances']} poolers x {pooler['max_pool_size']} connections and the reserve are more than the database's "
        f"{database['max_connections']}"
    )


def test_the_pooler_is_the_strategy_s():
    pooler = yaml.safe_load((K8S / "capacity.yaml").read_text())["pooler"]
    assert (pooler["min_pool_size"], pooler["max_pool_size"]) == (20, 100), "20 to 100 connections a pool"
    assert pooler["max_client_connections"] == 1000, "1000 clients"
