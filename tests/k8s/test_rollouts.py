"""Progressive delivery: the steps, what they are judged by, and that no answer at all is never a pass."""

import math
import re

import pytest

from manifests import find, of_kind, overlay

CASES = {"production": [10, 50, 100], "canary": [10, 25, 50, 75, 100]}


def canary(name):
    return find(overlay(name), "Rollout", "mapleai-app")["spec"]["strategy"]["canary"]


@pytest.mark.parametrize("name", CASES)
def test_weights_go_up_as_the_strategy_says_with_an_analysis_after_each(name):
    steps = canary(name)["steps"]
    weights = [step["setWeight"] for step in steps if "setWeight" in step]
    assert weights == CASES[name], f"{name}: {weights}, not {CASES[name]}"
    for position, step in enumerate(steps):
        if "setWeight" in step:
            templates = steps[position + 1]["analysis"]["templates"]
            assert templates == [{"templateName": "mapleai-release"}], f"{name}: {step}"


def test_blue_green_is_at_full_size_and_tried_before_it_has_traffic():
    steps = canary("production")["steps"]
    assert steps[0] == {"setCanaryScale": {"weight": 100}}
    assert steps[1]["analysis"]["templates"] == [{"templateName": "mapleai-smoke"}]
    assert steps[2] == {"setWeight": 10}
    assert canary("production")["scaleDownDelaySeconds"] >= 3600, "the way back is to be instant"


@pytest.mark.parametrize("name", CASES)
def test_it_runs_the_deployment_s_pods_behind_services_and_a_route_that_exist(name):
    resources = overlay(name)
    rollout = find(resources, "Rollout", "mapleai-app")["spec"]
    assert rollout["workloadRef"]["name"] == "mapleai-app" and "template" not in rollout
    # The autoscaler would make a controller that scales the Deployment along start pods that nobody calls.
    assert rollout["workloadRef"]["scaleDown"] == "never"
    assert "rollbackWindow" not in rollout, "it moves traffic to pods that are not there yet"
    assert rollout["progressDeadlineAbort"] is True, "what never gets ready goes back by itself"
    assert "dynamicStableScale" not in canary(name), "the old version stays at its size until the new one has proved itself"
    for service in (canary(name)["stableService"], canary(name)["canaryService"]):
        assert find(resources, "Service", service)
    istio = canary(name)["trafficRouting"]["istio"]["virtualService"]
    routes = {route["name"]: route for route in find(resources, "VirtualService", istio["name"])["spec"]["http"]}
    (route,) = [routes[wanted] for wanted in istio["routes"]]
    hosts = {destination["destination"]["host"]: destination["weight"] for destination in route["route"]}
    assert hosts == {canary(name)["stableService"]: 100, canary(name)["canaryService"]: 0}
    assert route["retries"] == {"attempts": 0}, "a completion must not be asked, and paid for, twice"


@pytest.mark.parametrize("name", CASES)
def test_every_argument_of_an_analysis_is_given(name):
    templates = {item["metadata"]["name"]: item["spec"] for item in of_kind(overlay(name), "AnalysisTemplate")}
    for step in canary(name)["steps"]:
        analysis = step.get("analysis")
        if not analysis:
            continue
        given = {argument["name"] for argument in analysis["args"]}
        for template in analysis["templates"]:
            wanted = {argument["name"] for argument in templates[template["templateName"]]["args"] if "value" not in argument}
            assert wanted <= given, f"{template}: {wanted - given} is not given"


def metrics():
    template = find(overlay("production"), "AnalysisTemplate", "mapleai-release")["spec"]
    return {metric["name"]: metric for metric in template["metrics"]}


def test_errors_response_times_business_and_traffic_are_looked_at():
    assert {*MEASURED, "silence"} == set(metrics())


MEASURED = ["traffic", "error-rate", "response-time", "response-time-bound", "completions"]


@pytest.mark.parametrize("metric", MEASURED)
def test_no_data_and_nan_never_pass_and_never_fail(metric):
    """A release at a quiet hour pauses for somebody to decide, rather than to take itself back, or to go on unseen."""
    for nothing in ([], [math.nan]):
        assert not passes(metrics()[metric]["successCondition"], nothing)
        assert not passes(metrics()[metric]["failureCondition"], nothing)
    assert metrics()[metric]["inconclusiveLimit"] < metrics()[metric]["count"] / 2, "half of it may be unclear"


def test_too_little_traffic_is_no_fault():
    for few in (0, 1, 49):
        assert not passes(metrics()["traffic"]["failureCondition"], [few])
        assert not passes(metrics()["traffic"]["successCondition"], [few])


def test_a_new_version_that_is_silent_beside_a_busy_one_has_failed():
    silence = metrics()["silence"]
    assert passes(silence["failureCondition"], [812.0]) and not passes(silence["successCondition"], [812.0])
    assert passes(silence["successCondition"], []) and not passes(silence["failureCondition"], [])


@pytest.mark.parametrize(
    ("metric", "good", "bad"),
    [
        ("traffic", 50, 49),
        ("error-rate", 0.009, 0.01),
        ("response-time", 1.9, 2.0),
        ("response-time-bound", 2.4, 2.5),
        ("completions", 0.985, 0.98),
    ],
)
def test_bounds(metric, good, bad):
    success, failure = metrics()[metric]["successCondition"], metrics()[metric]["failureCondition"]
    assert passes(success, [good]) and not passes(failure, [good]), f"{metric}: {success}"
    assert not passes(success, [bad]), f"{metric}: {success}"
    assert passes(failure, [bad]) == (metric != "traffic"), f"{metric}: {failure}"


def test_a_measurement_waits_until_it_looks_back_on_its_own_step():
    template = find(overlay("production"), "AnalysisTemplate", "mapleai-release")["spec"]
    (window,) = [argument["value"] for argument in template["args"] if argument["name"] == "window"]
    for metric in template["metrics"]:
        assert in_seconds(metric["initialDelay"]) >= in_seconds(window), metric["name"]
        assert metric["failureLimit"] < metric["count"] / 2, f"{metric['name']}: half of it may fail"


def in_seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh])", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def passes(condition, result):
    import conditions

    return conditions.passes(condition, result)
