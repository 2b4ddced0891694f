"""Argo's AnalysisRun, as far as our templates use it: what they ask, when, and what counts as failed."""

import json
import re
import sys
import pathlib
import time
import urllib.parse
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "k8s"))
import conditions  # noqa: E402


def in_seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m|h)", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


class Failed(Exception):
    """An analysis that says no, with the metric and what it measured."""


class Inconclusive(Exception):
    """An analysis that cannot say: Argo pauses the roll-out for somebody to decide."""


class Analysis:
    """One run of a template. `factor` divides its windows, intervals and delays, and nothing else."""

    def __init__(self, template, arguments, factor, rewrite):
        self.metrics = template["metrics"]
        self.factor = factor
        # Where the template's addresses are on this machine.
        self.rewrite = rewrite
        defaults = {argument["name"]: argument["value"] for argument in template["args"] if "value" in argument}
        for span in {"window", "baseline"} & defaults.keys():
            defaults[span] = f"{int(in_seconds(defaults[span]) * 1000 / factor)}ms"
        self.arguments = {**defaults, **arguments}
        self.measured = []

    def run(self, meanwhile):
        """Raises Failed as soon as one metric has failed for good; `meanwhile` is called all the time."""
        began = time.monotonic()
        states = [Metric(metric, began, self.factor) for metric in self.metrics]
        while open_ones := [state for state in states if not state.is_done()]:
            meanwhile()
            now = time.monotonic()
            for state in open_ones:
                if now >= state.due:
                    state.take(self.measure(state.metric), now)
                    self.measured.append((state.metric["name"], state.shown()))
            time.sleep(0.05)
        unclear = [f"{state.metric['name']}: {state.shown()}" for state in states if state.is_unclear()]
        if unclear:
            raise Inconclusive("; ".join(unclear))

    def measure(self, metric):
        """(verdict, value); no verdict and the error when the provider cannot be asked."""
        try:
            provider = metric["provider"]
            if "prometheus" in provider:
                result = self.prometheus(provider["prometheus"])
            else:
                result = self.web(provider["web"])
        except (OSError, ValueError, KeyError) as error:
            return None, str(error)
        if "failureCondition" not in metric:
            return (PASSED if conditions.passes(metric["successCondition"], result) else FAILED), result
        if conditions.passes(metric["failureCondition"], result):
            return FAILED, result
        return (PASSED if conditions.passes(metric["successCondition"], result) else UNCLEAR), result

    def filled_in(self, text):
        filled = re.sub(r"\{\{\s*args\.([\w-]+)\s*\}\}", lambda match: self.arguments[match.group(1)], text)
        assert "{{" not in filled, filled
        return filled

    def prometheus(self, provider):
        base = self.rewrite(self.filled_in(provider["address"]))
        query = urllib.parse.urlencode({"query": self.filled_in(provider["query"])})
        with urllib.request.urlopen(f"{base}/api/v1/query?{query}", timeout=provider["timeout"]) as response:
            data = json.load(response)["data"]
        assert data["resultType"] == "vector", data
        return [float(sample["value"][1]) for sample in data["result"]]

    def web(self, provider):
        url = self.rewrite(self.filled_in(provider["url"]))
        name = re.fullmatch(r"\{\$\.(\w+)\}", provider["jsonPath"]).group(1)
        with urllib.request.urlopen(url, timeout=provider["timeoutSeconds"]) as response:
            return json.load(response)[name]


PASSED, FAILED, UNCLEAR = "passed", "failed", "unclear"


class Metric:
    """One metric's measurements so far."""

    def __init__(self, metric, began, factor):
        self.metric = metric
        self.due = began + in_seconds(metric.get("initialDelay", "0s")) / factor
        self.interval = in_seconds(metric["interval"]) / factor
        self.taken = self.failures = self.unclear = self.errors = 0
        self.last = None

    def take(self, measurement, now):
        verdict, self.last = measurement
        self.taken += 1
        self.due = now + self.interval
        if verdict is None:
            self.errors += 1
            if self.errors > self.metric["consecutiveErrorLimit"]:
                raise Failed(f"{self.metric['name']} cannot be asked: {self.last}")
            return
        self.errors = 0
        if verdict == FAILED:
            self.failures += 1
            if self.failures > self.metric["failureLimit"]:
                raise Failed(f"{self.metric['name']}: {self.shown()} is not {self.metric['successCondition']}")
        if verdict == UNCLEAR:
            self.unclear += 1

    def is_unclear(self):
        """Looked at when all is measured: a failure of any metric comes first."""
        return self.unclear > self.metric.get("inconclusiveLimit", 0)

    def is_done(self):
        return self.taken >= self.metric["count"]

    def shown(self):
        if isinstance(self.last, list):
            return [round(value, 4) for value in self.last]
        return self.last
