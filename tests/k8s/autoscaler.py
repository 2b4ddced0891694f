"""One HorizontalPodAutoscaler over time, by the algorithm that Kubernetes documents; `step` is one look, every 15 s.

Each metric proposes ceil(ready pods x measured / target), or what there is while the quotient is within the direction's
tolerance of 1; the highest counts. Of the proposals within a direction's window the lowest (up) or highest (down) counts, and its
policies say how much of that may happen within their periods.
"""

import math
import re

EVERY = 15
# The cluster's own tolerance where the manifest has none.
CLUSTER_TOLERANCE = 0.1
# Of rounding: 50 x 1.4 is not 70 in floating point.
SLACK = 1e-9


def quantity(text):
    number, unit = re.fullmatch(r"([0-9.]+)(m?)", str(text)).groups()
    return float(number) / (1000 if unit else 1)


class Autoscaler:
    def __init__(self, spec, pods, versions=1):
        """`versions`: how many of the same size there are; the ones that stand by do nothing and are measured all the same."""
        self.spec, self.pods, self.versions = spec, pods, versions
        self.now, self.wanted, self.changes = 0, [], []

    def metric(self, name):
        """(target, whether it is an average over pods)"""
        for metric in self.spec["metrics"]:
            body = metric[metric["type"].lower()]
            if name in (body.get("name"), body.get("metric", {}).get("name")):
                target = body["target"]
                average = target["type"] != "Value"
                return target.get("averageUtilization") or quantity(target.get("averageValue") or target.get("value")), average
        raise KeyError(f"the autoscaler has no metric {name}")

    def tolerance(self, direction):
        return float(self.spec["behavior"][direction].get("tolerance", CLUSTER_TOLERANCE))

    def wants(self, load):
        """The proposal for what is measured now on the pods that serve: metric name -> value."""
        proposals = []
        for name, value in load.items():
            target, average = self.metric(name)
            ratio = value / (self.versions if average else 1) / target
            within = 1 - self.tolerance("scaleDown") - SLACK <= ratio <= 1 + self.tolerance("scaleUp") + SLACK
            proposals.append(self.pods if within else math.ceil(self.pods * self.versions * ratio - SLACK))
        return min(max(max(proposals), self.spec["minReplicas"]), self.spec["maxReplicas"])

    def step(self, load):
        self.now += EVERY
        self.wanted.append((self.now, self.wants(load)))
        up = min(self.recent("scaleUp"))
        down = max(self.recent("scaleDown"))
        pods = self.pods
        if up > pods:
            pods = min(up, self.limit("scaleUp"))
        elif down < pods:
            pods = max(down, self.limit("scaleDown"))
        if pods != self.pods:
            self.changes.append((self.now, self.pods, pods))
            self.pods = pods

    def recent(self, direction):
        window = self.spec["behavior"][direction]["stabilizationWindowSeconds"]
        recent = [pods for at, pods in self.wanted if at > self.now - window]
        # At the start there is nothing to look back on: as if it had always been as it is.
        return recent if self.now >= window else [*recent, self.pods]

    def limit(self, direction):
        """As far as the policies let it go now."""
        rules = self.spec["behavior"][direction]
        sign = 1 if direction == "scaleUp" else -1
        limits = []
        for policy in rules["policies"]:
            moved = sum(
                after - before
                for at, before, after in self.changes
                if at > self.now - policy["periodSeconds"] and (after - before) * sign > 0
            )
            began = self.pods - moved
            step = policy["value"] if policy["type"] == "Pods" else began * policy["value"] / 100
            limits.append(math.ceil(began + sign * step))
        # The largest change, whichever way it goes, or the smallest.
        largest = rules["selectPolicy"] == "Max"
        return max(limits) if largest == (sign > 0) else min(limits)

    def run(self, load, seconds):
        for _ in range(seconds // EVERY):
            self.step(load)
        return self

    def run_together(self, load, seconds):
        """`load` is of all pods together, so that each has less when there are more."""
        for _ in range(seconds // EVERY):
            self.step({name: value / self.pods for name, value in load.items()})
        return self
