#!/usr/bin/env python3
"""Progressive delivery, rehearsed with real processes: `make rehearse`.

Two builds of the service behind HAProxy with weights, a Prometheus that scrapes both, and the steps, queries and conditions
of the rendered Rollouts and AnalysisTemplates. Windows, intervals, delays and deadlines are divided by one factor; numbers of
requests and thresholds are as they are. Faults come from the upstream, the database or the machine that the candidate is
given, never from a switch in the product.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "k8s"))

import manifests  # noqa: E402
import service  # noqa: E402
from analysis import Analysis, Failed, Inconclusive  # noqa: E402
from load import Load  # noqa: E402
from stage import NAMESPACE, Stage  # noqa: E402

RATE = 80


class Crashing:
    """The machine ends the candidate again and again, as one that needs more memory than it has; it is started anew."""

    def __init__(self, candidate, every=4.0, pause=2.0):
        self.candidate, self.every, self.pause = candidate, every, pause
        self.at = None

    def __call__(self):
        now = time.monotonic()
        self.at = self.at or now + self.every
        if now < self.at:
            return
        if self.candidate.process.poll() is None:
            self.candidate.kill()
            self.at = now + self.pause
        else:
            self.candidate.launch()
            self.at = now + self.every


# Name -> what is wrong with the candidate's surroundings, and what should become of it.
CANDIDATES = {
    "good, blue-green": {"overlay": "production", "outcome": "promoted"},
    "good, canary": {"overlay": "canary", "outcome": "promoted"},
    "5 % errors": {"overlay": "canary", "faults": {"error_rate": 0.05}},
    "3x latency": {"overlay": "canary", "faults": {"latency": 0.28}},
    "failing completions": {"overlay": "canary", "faults": {"break_rate": 0.3}},
    "crashes": {"overlay": "canary", "crashes": True},
    "never ready": {"overlay": "production", "empty_database": True},
    "no traffic": {"overlay": "production", "traffic": False, "outcome": "paused"},
    "5 % errors, blue-green": {"overlay": "production", "faults": {"error_rate": 0.05}},
}
SHORT = ["good, blue-green", "5 % errors", "failing completions"]


class Rehearsal:
    def __init__(self, stage, load, factor):
        self.stage, self.load, self.factor = stage, load, factor
        self.weights = [(0.0, 0)]
        self.cases = []

    def clock(self):
        return time.monotonic() - self.load.began

    def weigh(self, weight):
        self.stage.weigh(weight)
        self.weights.append((self.clock(), weight))
        self.step = f"{weight} %"

    def perform(self, name, case):
        """One candidate from its start to its promotion or its end."""
        print(f"--- {name}", flush=True)
        stage, candidate = self.stage, self.stage.candidate
        resources = manifests.overlay(case["overlay"])
        rollout = manifests.find(resources, "Rollout", "mapleai-app")["spec"]
        templates = {item["metadata"]["name"]: item["spec"] for item in manifests.of_kind(resources, "AnalysisTemplate")}
        began, self.step = self.clock(), "0 %"
        before = len(self.load.results)
        if case.get("traffic", True) is False:
            self.load.paused.set()
        candidate.start(database=case.get("database"), **case.get("faults", {}))
        meanwhile = Crashing(candidate) if case.get("crashes") else lambda: None
        problem, result = None, "promoted"
        try:
            self.until_ready(rollout["progressDeadlineSeconds"])
            for step in rollout["strategy"]["canary"]["steps"]:
                if "setWeight" in step:
                    self.weigh(step["setWeight"])
                elif "analysis" in step:
                    self.analyse(step["analysis"], templates, meanwhile)
                else:
                    assert "setCanaryScale" in step, f"a step that is not known: {step}"
        except Failed as failure:
            problem, result = str(failure), "rolled back"
        except Inconclusive as unclear:
            problem, result = str(unclear), "paused"
        stopped = self.clock()
        decided = self.step
        promoted = result == "promoted"
        if not promoted:
            # What was paused goes back as well, once somebody has decided so.
            self.weigh(0)
        self.load.paused.clear()
        # Whoever was asked before has had time to answer.
        time.sleep(1.5)
        spoiled = [result for result in self.load.results[before:] if result[2]]
        self.aftermath(promoted)
        outcome = {
            "candidate": name,
            "strategy": "blue-green" if case["overlay"] == "production" else "canary",
            "outcome": result,
            "at_step": decided,
            "after_seconds": round(stopped - began, 1),
            "after_seconds_unshrunk": round((stopped - began) * self.factor),
            "requests": len(self.load.results) - before,
            "spoiled_requests": len(spoiled),
            "why": problem or "every analysis passed",
        }
        self.cases.append({**outcome, "from": began, "to": stopped})
        print(json.dumps(outcome), flush=True)
        expected = case.get("outcome", "rolled back")
        assert result == expected, f"{name}: should have been {expected}, was {result}: {problem}"
        if promoted:
            assert not spoiled, f"{name}: a good version spoiled {len(spoiled)} requests: {spoiled[:5]}"
        return outcome

    def until_ready(self, deadline):
        limit = time.monotonic() + deadline / self.factor
        while not (self.stage.candidate.is_ready() and self.stage.balancer_sees("candidate", up=True)):
            if time.monotonic() > limit:
                raise Failed(f"not ready within {deadline} s (progressDeadlineSeconds)")
            time.sleep(0.1)

    def analyse(self, analysis, templates, meanwhile):
        hashes = {"Latest": "candidate", "Stable": "stable"}
        arguments = {}
        for argument in analysis["args"]:
            source = argument["valueFrom"]
            arguments[argument["name"]] = hashes[source["podTemplateHashValue"]] if "podTemplateHashValue" in source else NAMESPACE
        for template in analysis["templates"]:
            run = Analysis(templates[template["templateName"]], arguments, self.factor, self.stage.rewrite)
            try:
                run.run(meanwhile)
            finally:
                last = dict(run.measured)
                print(f"    {self.step}: {template['templateName']}: {last}", flush=True)

    def aftermath(self, promoted):
        """All traffic is where it should be, and well; then the stage is as before."""
        wanted = "candidate" if promoted else "stable"
        before = len(self.load.results)
        time.sleep(1.5)
        later = self.load.results[before:]
        wrong = [result for result in later if result[2] or result[3] != wanted]
        assert later and not wrong, f"after the decision {len(wrong)} of {len(later)} requests went wrong: {wrong[:3]}"
        if promoted:
            # The old one was kept: back in an instant, and nothing is lost.
            self.weigh(0)
            time.sleep(1.5)
        self.stage.candidate.stop()
        service.wait_until("the balancer", lambda: self.stage.balancer_sees("candidate", up=False), limit=10)


def plot(path, rehearsal):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = sorted(rehearsal.load.results)
    end = math.ceil(results[-1][0]) + 1
    errors, all_of = [0] * end, [0] * end
    for at, _, problem, _ in results:
        all_of[int(at)] += 1
        errors[int(at)] += bool(problem)
    share = [100 * bad / good if good else math.nan for bad, good in zip(errors, all_of, strict=True)]
    figure, (top, bottom) = pyplot.subplots(2, 1, sharex=True, figsize=(14, 6.5), layout="constrained")
    steps = [*rehearsal.weights, (end, rehearsal.weights[-1][1])]
    top.step([at for at, _ in steps], [weight for _, weight in steps], where="post", color="#1f5fa8", linewidth=2)
    top.set_ylabel("weight of the candidate, %")
    top.set_ylim(-4, 135)
    top.set_yticks([0, 10, 25, 50, 75, 100])
    bottom.plot(range(end), share, color="#b3261e", linewidth=1.2)
    bottom.set_ylabel("failed requests of a second, %")
    bottom.set_xlabel(f"seconds (windows, intervals and deadlines are divided by {rehearsal.factor})")
    bottom.set_ylim(bottom=0)
    for number, case in enumerate(rehearsal.cases):
        good = case["outcome"] == "promoted"
        for axes in (top, bottom):
            axes.axvspan(case["from"], case["to"], color="#2e7d32" if good else "#b3261e", alpha=0.09, linewidth=0)
        top.text(
            (case["from"] + case["to"]) / 2,
            122 if number % 2 else 108,
            f"{case['candidate']}\n{case['outcome']}",
            ha="center",
            va="bottom" if number % 2 else "bottom",
            fontsize=7.5,
        )
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Rehearsal: {RATE} requests a second, zero retries at the balancer")
    figure.savefig(path, dpi=110)


def table(report):
    """The report for people, as Markdown."""
    lines = [
        f"# Rehearsal of {report['commit'][:12]}",
        "",
        f"In place of {report['stable'][:12]}, under {report['requests_per_second']} requests a second; times are divided by"
        f" {report['factor']:g}. Written by `make rehearse ARGS=--report`; [what it means](../REHEARSAL.md).",
        "",
        "| candidate | strategy | outcome | at | after s | as in production s | requests | spoiled | why |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for case in report["candidates"]:
        why = case["why"].replace("|", "\\|")
        lines.append(
            f"| {case['candidate']} | {case['strategy']} | {case['outcome']} | {case['at_step']} | {case['after_seconds']} |"
            f" {case['after_seconds_unshrunk']} | {case['requests']} | {case['spoiled_requests']} | {why} |"
        )
    return "\n".join([*lines, "", "![Weight and failed requests over time](rehearsal.png)", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stable", required=True, type=pathlib.Path)
    parser.add_argument("--candidate", required=True, type=pathlib.Path)
    parser.add_argument("--stable-commit", required=True)
    parser.add_argument("--database", required=True, help="of a fresh database")
    parser.add_argument("--empty-database", required=True, help="of one that is never migrated")
    parser.add_argument("--factor", type=float, default=12)
    parser.add_argument("--report", type=pathlib.Path, required=True, help="a folder for rehearsal.json, .md and .png")
    parser.add_argument("--only", action="append", choices=CANDIDATES, help="these candidates; all if not said")
    given = parser.parse_args()
    CANDIDATES["never ready"]["database"] = given.empty_database
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="mapleai-rehearsal.") as folder:
        try:
            with Stage(folder, given.stable, given.candidate, given.database, given.factor) as stage:
                _, key = service.account(stage.port)
                with Load(stage.port, key, rate=RATE) as load:
                    time.sleep(3)
                    rehearsal = Rehearsal(stage, load, given.factor)
                    for name in given.only or CANDIDATES:
                        rehearsal.perform(name, CANDIDATES[name])
        except BaseException:
            for log in pathlib.Path(folder).glob("*.log"):
                print(f"== {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
    given.report.mkdir(parents=True, exist_ok=True)
    report = {
        "commit": commit,
        "stable": given.stable_commit,
        "factor": given.factor,
        "requests_per_second": RATE,
        "requests": len(load.results),
        "candidates": [{key: value for key, value in case.items() if key not in ("from", "to")} for case in rehearsal.cases],
    }
    (given.report / "rehearsal.json").write_text(json.dumps(report, indent=2) + "\n")
    (given.report / "rehearsal.md").write_text(table(report))
    plot(given.report / "rehearsal.png", rehearsal)
    print(f"{len(rehearsal.cases)} passed, 0 failed")


if __name__ == "__main__":
    main()
