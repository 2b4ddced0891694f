"""The autoscaler's arithmetic, gone through with the rendered manifest on a table of loads.

Kubernetes: desired = ceil(current x ratio), the highest of all metrics; no change while the ratio is within the direction's
tolerance of 1; of the recommendations within the window the lowest (up) or highest (down) counts.
"""

import math
import re
import tomllib

import pytest

from manifests import K8S, find, overlay, overlay as rendered

import yaml

# The cluster's own tolerance where the manifest has none.
CLUSTER_TOLERANCE = 0.1


class Autoscaler:
    """One HorizontalPodAutoscaler over time; `step` is one look, every 15 s."""

    EVERY = 15

    def __init__(self, spec, pods):
        self.spec, self.pods, self.now, self.wanted = spec, pods, 0, []
        self.changes = []

    def target(self, name):
        for metric in self.spec["metrics"]:
            kind = metric["type"].lower()
            body = metric[kind]
            if name in (body.get("name"), body.get("metric", {}).get("name")):
                target = body["target"]
                return target.get("averageUtilization") or quantity(target.get("averageValue") or target.get("value"))
        raise KeyError(name)

    def tolerance(self, direction):
        return float(self.spec["behavior"][direction].get("tolerance", CLUSTER_TOLERANCE))

    def wants(self, load):
        """The proposal for what is measured now: metric name -> value a pod (or of the whole, for `Value` targets)."""
        proposals = []
        for name, value in load.items():
            ratio = value / self.target(name)
            within = -self.tolerance("scaleDown") <= ratio - 1 <= self.tolerance("scaleUp") + 1e-9
            proposals.append(self.pods if within else math.ceil(self.pods * ratio - 1e-9))
        return min(max(max(proposals), self.spec["minReplicas"]), self.spec["maxReplicas"])

    def step(self, load):
        self.now += self.EVERY
        self.wanted.append((self.now, self.wants(load)))
        within = lambda direction: [  # noqa: E731
            pods
            for at, pods in self.wanted
            if at > self.now - self.spec["behavior"][direction]["stabilizationWindowSeconds"]
        ]
        full = lambda direction: self.now >= self.spec["behavior"][direction]["stabilizationWindowSeconds"]  # noqa: E731
        up, down = min(within("scaleUp")), max(within("scaleDown"))
        pods = self.pods
        if up > pods and full("scaleUp"):
            pods = min(up, pods + self.most("scaleUp", max))
        elif down < pods and full("scaleDown"):
            pods = max(down, pods - self.most("scaleDown", min))
        if pods != self.pods:
            self.changes.append((self.now, self.pods, pods))
            self.pods = pods

    def most(self, direction, choose):
        rules = self.spec["behavior"][direction]
        assert rules["selectPolicy"] == {max: "Max", min: "Min"}[choose]
        return choose(
            policy["value"] if policy["type"] == "Pods" else math.ceil(self.pods * policy["value"] / 100)
            for policy in rules["policies"]
        )

    def run(self, load, seconds):
        for _ in range(seconds // self.EVERY):
            self.step(load)
        return self


def quantity(text):
    number, unit = re.fullmatch(r"([0-9.]+)(m?)", str(text)).groups()
    return float(number) / (1000 if unit else 1)


def scaler(name, pods=4):
    return Autoscaler(find(overlay(name), "HorizontalPodAutoscaler", "mapleai-app")["spec"], pods)


CALM = {"cpu": 50, "memory": 55}


@pytest.mark.parametrize("name", ["staging", "production", "canary"])
@pytest.mark.parametrize(
    ("load", "minutes", "direction"),
    [
        # The strategy's rules, on both sides of each number.
        ({"cpu": 71, "memory": 55}, 6, "up"),
        ({"cpu": 70, "memory": 55}, 30, "same"),
        ({"cpu": 71, "memory": 55}, 4, "same"),
        ({"cpu": 50, "memory": 81}, 6, "up"),
        ({"cpu": 50, "memory": 79}, 30, "same"),
        ({"cpu": 29, "memory": 33}, 11, "down"),
        ({"cpu": 29, "memory": 33}, 9, "same"),
        ({"cpu": 31, "memory": 33}, 30, "same"),
        # The strategy would go down below 50 % of memory; one pair of tolerances for all metrics goes down below 34 %.
        ({"cpu": 29, "memory": 40}, 30, "same"),
        # One that is low does not outvote one that is high.
        ({"cpu": 20, "memory": 85}, 6, "up"),
        ({**CALM, "maple_request_queue_length": 15}, 6, "up"),
        ({**CALM, "maple_request_queue_length": 0}, 30, "same"),
        ({**CALM, "maple_http_request_duration_p95_seconds": 0.8}, 6, "up"),
        ({**CALM, "maple_requests_shed_per_second": 2}, 6, "up"),
        ({**CALM, "maple_requests_shed_per_second": 0}, 30, "same"),
    ],
)
def test_rules(name, load, minutes, direction):
    ran = scaler(name).run(load, minutes * 60)
    moved = "up" if ran.pods > 4 else "down" if ran.pods < 4 else "same"
    assert moved == direction, f"{name}: {load} for {minutes} minutes: {ran.changes}"


def test_a_peak_of_four_minutes_and_a_lull_of_nine_change_nothing():
    ran = scaler("production").run(CALM, 900)
    for _ in range(5):
        ran.run({"cpu": 95, "memory": 55}, 240).run(CALM, 120)
    assert ran.changes == []
    for _ in range(5):
        ran.run({"cpu": 10, "memory": 20}, 540).run(CALM, 120)
    assert ran.changes == []


def test_bounds_hold_and_a_step_down_is_one_pod():
    high = scaler("production").run({"cpu": 400, "memory": 55}, 3600)
    assert high.pods == high.spec["maxReplicas"]
    low = scaler("production", pods=12).run({"cpu": 5, "memory": 10}, 7200)
    assert low.pods == 3 and all(before - after == 1 for _, before, after in low.changes)


def test_an_older_cluster_keeps_the_upper_thresholds():
    assert "tolerance" not in str(find(overlay("older-cluster"), "HorizontalPodAutoscaler", "mapleai-app"))
    assert scaler("older-cluster").run({"cpu": 71, "memory": 55}, 360).pods > 4
    assert scaler("older-cluster").run({"cpu": 69, "memory": 65}, 1800).pods == 4
    assert scaler("older-cluster").run({"cpu": 60, "memory": 80}, 360).pods > 4
    # What is left after a step down is not at once too little: no back and forth.
    ran = scaler("older-cluster").run({"cpu": 55, "memory": 60}, 660)
    assert ran.pods == 3
    again = scaler("older-cluster", pods=3).run({"cpu": 55 * 4 / 3, "memory": 60 * 4 / 3}, 240)
    assert again.pods == 3


@pytest.mark.parametrize("name", ["staging", "production", "canary", "older-cluster"])
def test_connections_fit_with_both_versions_at_their_largest(name):
    """Pods x pool, twice while two versions run, against the pooler; the pooler's pool against the database."""
    capacity = yaml.safe_load((K8S / "capacity.yaml").read_text())
    config = next(
        item["data"]["default.toml"]
        for item in rendered(name)
        if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith("mapleai-config")
    )
    pool = tomllib.loads(config)["database"]["max_connections"]
    pods = scaler(name).spec["maxReplicas"]
    asked = 2 * pods * pool + capacity["pooler"]["reserved_client_connections"]
    allowed = capacity["pooler"]["max_client_connections"]
    assert asked <= allowed, f"2 x {pods} pods x {pool} connections and the reserve are {asked}, PgBouncer takes {allowed}"
    opened = capacity["pooler"]["instances"] * capacity["pooler"]["max_pool_size"]
    database = capacity["database"]
    assert opened + database["reserved_connections"] <= database["max_connections"]
    assert capacity["pooler"]["min_pool_size"] == 20 and capacity["pooler"]["max_pool_size"] == 100
