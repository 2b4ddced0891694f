"""What k8s/components/monitoring and logging promise, held against the service and against each other.

Needs promtool on the PATH and the Python packages pytest and PyYAML: `pytest tests/monitoring`.

MAPLE_METRICS_FILE names a file with the text that /metrics of a running instance gave, after it had a Redis, a journal, a
person who registered and signed in, and a call to a model. Without it the names in crates/telemetry/src/metrics.rs are believed, which
CI does not allow: a name can be described and never be set.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MONITORING = ROOT / "k8s/components/monitoring"
LOGGING = ROOT / "k8s/components/logging"
RUNBOOKS = ROOT / "docs/runbooks"
RUNBOOK_URL = "https://github.com/mapleai/mapleai/blob/main/docs/runbooks/{}.md"
SEVERITIES = {"page", "ticket", "info"}
TEST_FILES = ["rules_test.yaml", "rules_long_test.yaml"]

# --- What is read. --------------------------------------------------------------------------------------------------------


def groups_of(name):
    return yaml.safe_load((MONITORING / f"prometheusrule-{name}.yaml").read_text())["spec"]["groups"]


def rules_of(name):
    return [rule for group in groups_of(name) for rule in group["rules"]]


RECORDING = rules_of("recording")
ALERTS = {rule["alert"]: rule for rule in rules_of("alerts")}
DASHBOARDS = {path.name: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}


def panels_of(dashboard):
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", [])


def runbook_queries(path):
    """The lines of a runbook's code that are neither remarks nor commands of a shell."""
    for block in re.findall(r"^```\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if not re.match(r"#|kubectl |curl |psql |mapleai |redis-cli ", line):
                yield line


def queries():
    """Every query there is, with where it stands."""
    for rule in RECORDING:
        yield rule["record"], rule["expr"]
    for name, rule in ALERTS.items():
        yield name, rule["expr"]
    for file, dashboard in DASHBOARDS.items():
        for panel in panels_of(dashboard):
            for target in panel.get("targets", []):
                yield f"{file}: {panel['title']}", target["expr"]
    for path in sorted(RUNBOOKS.glob("Maple*.md")):
        for query in runbook_queries(path):
            yield path.name, query


def delivery_queries():
    """What else asks: analyses of releases, the autoscaler's adapter, and the measuring after a deployment."""
    for path in sorted((ROOT / "k8s/components/analysis").glob("*.yaml")):
        for template in yaml.safe_load_all(path.read_text()):
            if template["kind"] == "AnalysisTemplate":
                for metric in template["spec"]["metrics"]:
                    if "prometheus" in metric["provider"]:
                        query = re.sub(r"\{\{args\.[a-z-]+\}\}", "argument", metric["provider"]["prometheus"]["query"])
                        yield f"analysis {template['metadata']['name']}: {metric['name']}", query
    adapter = yaml.safe_load((ROOT / "k8s/components/autoscaling/adapter-rules.yaml").read_text())["data"]["config.yaml"]
    for rule in yaml.safe_load(adapter)["rules"]:
        place, series = f"adapter: {rule['name']['as']}", rule["seriesQuery"].partition("{")[0]
        query = rule["metricsQuery"].replace("<<.Series>>", series).replace("<<.GroupBy>>", "pod")
        yield place, rule["seriesQuery"]
        yield place, re.sub(r"<<\.LabelMatchers>>,?", "", query)
    for name in set(re.findall(r"\bmaple_\w+", (ROOT / "xtask/src/measure.rs").read_text())):
        yield "make measure", name


QUERIES = list(queries())
DELIVERY_QUERIES = list(delivery_queries())

# --- What is exported. ----------------------------------------------------------------------------------------------------

PROCESS = [
    "cpu_seconds_total",
    "open_fds",
    "max_fds",
    "virtual_memory_bytes",
    "virtual_memory_max_bytes",
    "resident_memory_bytes",
    "start_time_seconds",
    "threads",
]


def exported_metrics():
    """The names of all series that an instance gives out."""
    types = {}
    if file := os.environ.get("MAPLE_METRICS_FILE"):
        for line in Path(file).read_text().splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                types[name] = kind
        assert types, f"{file} holds no metrics"
    else:
        assert not os.environ.get("CI"), "MAPLE_METRICS_FILE must name what a running instance exported"
        source = (ROOT / "crates/telemetry/src/metrics.rs").read_text()
        for constant, name in re.findall(r'pub const (\w+): &str = "(\w+)";', source):
            histogram = re.search(rf"describe_histogram!\(\s*{constant}\b", source)
            types[name] = "histogram" if histogram else "other"
        types |= {f"process_{name}": "other" for name in PROCESS}
    names = set()
    for name, kind in types.items():
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def exporters():
    """Metrics of others, each with who exports it."""
    pairs = [line.split() for line in (HERE / "exporters.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(len(pair) == 2 for pair in pairs)
    assert len({name for name, _ in pairs}) == len(pairs), "a name is there twice"
    return dict(pairs)


# --- A little PromQL: enough to find names. -------------------------------------------------------------------------------

WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end", "group_left", "group_right", "on", "by"}
GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
IDENTIFIER = re.compile(r"(?<![\w:$.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^{}]*)\}")
MATCHER = re.compile(r"(\w+)\s*(=~|!~|!=|=)\s*(\d+)")


def metric_names(query):
    query = STRING.sub("", query)
    query = re.sub(r"\{[^{}]*\}|\[[^\[\]]*\]", " ", query)
    query = GROUPING.sub(" ", query)
    return {name for name in IDENTIFIER.findall(query) if name.lower() not in WORDS}


def matchers(query):
    """(metric, label, value) for each literal that a query asks for; alternatives of a pattern one by one."""
    strings = []

    def keep(match):
        strings.append(match.group(0)[1:-1])
        return str(len(strings) - 1)

    for metric, inside in SELECTOR.findall(STRING.sub(keep, query)):
        for label, operator, place in MATCHER.findall(inside):
            value = strings[int(place)]
            for one in value.split("|") if "~" in operator else [value]:
                yield metric, label, one


def test_the_tokenizer_finds_names():
    query = 'sum by (le, pod) (rate(a_total{x=~"b|c{d}", y="e"}[5m] offset 1h)) / on (pod) group_left (z) f:g:rate5m > 1e3 or vector(0)'
    assert metric_names(query) == {"a_total", "f:g:rate5m"}
    assert set(matchers(query)) == {("a_total", "x", "b"), ("a_total", "x", "c{d}"), ("a_total", "y", "e")}


# --- Rules. ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def plain_rules(tmp_path_factory):
    """A folder with the rules as Prometheus reads them, and the tests of them beside."""
    folder = tmp_path_factory.mktemp("rules")
    for name in ("recording", "alerts"):
        (folder / f"{name}.full.yaml").write_text(yaml.safe_dump({"groups": groups_of(name)}, sort_keys=False))
        bare = groups_of(name)
        for group in bare:
            for rule in group["rules"]:
                rule.pop("annotations", None)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"groups": bare}, sort_keys=False))
    for name in TEST_FILES:
        shutil.copy(HERE / name, folder)
    return folder


def promtool(*arguments, folder):
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_valid(plain_rules):
    promtool("check", "rules", "recording.full.yaml", "alerts.full.yaml", folder=plain_rules)


@pytest.mark.parametrize("file", TEST_FILES)
def test_alerts_fire_when_they_should(plain_rules, file):
    promtool("test", "rules", file, folder=plain_rules)


def test_every_query_is_valid(tmp_path):
    """Those of dashboards and runbooks too, with Grafana's variables filled in, as rules that promtool can check."""
    rules = []
    for place, (_, query) in enumerate(QUERIES):
        query = re.sub(r"\$\{?__(rate_interval|interval|range)\}?", "5m", query)
        rules.append({"record": f"query:{place}", "expr": query})
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", "queries.yaml", folder=tmp_path)


def test_every_alert_is_tried_both_ways():
    fires, silent = set(), set()
    for file in TEST_FILES:
        for case in yaml.safe_load((HERE / file).read_text())["tests"]:
            for asked in case["alert_rule_test"]:
                (fires if asked["exp_alerts"] else silent).add(asked["alertname"])
    assert fires == set(ALERTS)
    assert silent == set(ALERTS)


@pytest.mark.parametrize("file", TEST_FILES)
def test_tests_order_all_groups(file):
    """A group that is left out would be evaluated first, and alerts see the figures of a moment ago."""
    order = yaml.safe_load((HERE / file).read_text())["group_eval_order"]
    assert order == [group["name"] for name in ("recording", "alerts") for group in groups_of(name)]


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_say_what_to_do(name):
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["area"]
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    url = rule["annotations"].get("runbook_url")
    assert url == RUNBOOK_URL.format(name), f"{name}: {url} is not its runbook"
    assert (RUNBOOKS / f"{name}.md").is_file(), f"{name} has no runbook: docs/runbooks/{name}.md"
    assert f"Severity `{rule['labels']['severity']}`" in (RUNBOOKS / f"{name}.md").read_text()


def test_runbooks_belong_to_alerts():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == set(ALERTS)
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \|", (RUNBOOKS / "README.md").read_text(), re.MULTILINE)
    assert dict(listed) == {name: rule["labels"]["severity"] for name, rule in ALERTS.items()}


def test_runbooks_link_to_what_exists():
    for path in [*RUNBOOKS.glob("*.md"), MONITORING / "README.md", LOGGING / "README.md"]:
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


# --- Names and values. ----------------------------------------------------------------------------------------------------


def test_every_metric_exists():
    recorded = {rule["record"] for rule in RECORDING}
    known = recorded | exported_metrics() | set(exporters())
    asked = {(place, name) for place, query in QUERIES + DELIVERY_QUERIES for name in metric_names(query)}
    unknown = sorted(f"{place}: no {name}" for place, name in asked if name not in known)
    assert not unknown, "\n".join(unknown)
    assert {place.split(":")[0] for place, _ in DELIVERY_QUERIES} == {"analysis mapleai-release", "adapter", "make measure"}


def test_exporters_lists_nothing_else():
    used = {name for _, query in QUERIES for name in metric_names(query)}
    assert not set(exporters()) - used
    assert not set(exporters()) & exported_metrics() or set(exporters()) & exported_metrics() <= {"up"}


OUTCOMES = {"completed", "refused", "failed", "timed_out", "cancelled"}
# Labels of our metrics that have fixed values. Sign-ins have outcomes of their own.
VALUES = {
    "outcome": OUTCOMES,
    "reason": {"organization_limit", "overloaded"},
    "window": {"day", "week"},
    "kind": {"organization", "invitation"},
    "database": {"primary", "analytics", "reporting"},
    "state": {"in_use", "idle", "max", "waiting"},
    "dependency": {"redis", "database_primary", "database_analytics", "database_reporting"},
    "tier": {"memory", "redis", "source"},
    "class": {"session", "cookie", "api_key", "profile", "organization", "conversations", "usage_report", "answer"},
    "operation": {"hit", "miss", "eviction", "invalidation", "error", "load", "coalesced", "early_refresh"},
    "cache": {"hit", "miss", "coalesced", "bypass"},
    "feature": {
        "question_asked",
        "answer_regenerated",
        "program_chat",
        "program_embeddings",
        "key_made",
        "invitation_sent",
    },
    "gen_ai_token_type": {"input", "output"},
}
SIGN_IN_OUTCOMES = {"accepted", "refused", "throttled"}
# Values that callers or the configuration choose, and labels that Prometheus adds.
FREE = {"gen_ai_request_model", "gen_ai_provider_name", "http_request_method", "le"}
TARGET = {"namespace", "pod", "service", "container", "job", "version", "rollouts_pod_template_hash"}


def own(name):
    return bool(re.match(r"maple[_:]|gen_ai_|http_server_|process_", name))


@pytest.fixture(scope="session")
def source():
    sources = [*(ROOT / "src").rglob("*.rs"), *(ROOT / "crates").rglob("src/**/*.rs")]
    return "\n".join(path.read_text() for path in sorted(sources))


def test_label_values_exist(source):
    wrong = []
    for place, query in QUERIES + DELIVERY_QUERIES:
        for metric, label, value in matchers(query):
            if not own(metric) or "$" in value or label in FREE | TARGET:
                continue
            if label == "http_response_status_code":
                right = re.fullmatch(r"[1-5](\.\.|\d\d)", value)
            elif label == "http_route":
                right = value == "other" or f'"{value}"' in source
            elif metric == "maple_sign_ins_total":
                right = label == "outcome" and value in SIGN_IN_OUTCOMES
            else:
                right = value in VALUES.get(label, ())
            if not right:
                wrong.append((place, metric, label, value))
    assert not wrong


def test_the_known_values_are_the_service_s_own(source):
    for values in [*VALUES.values(), SIGN_IN_OUTCOMES]:
        for value in values:
            quoted = value.removeprefix("database_") if value.startswith("database_") else value
            assert f'"{quoted}"' in source, value


def test_models_routes_do_not_count_as_slow(source):
    """All routes that answer with a model, and no other, are left out of the latency."""
    expr = next(rule["expr"] for rule in RECORDING if rule["record"] == "maple:http_request_duration_seconds:p95")
    left_out = {value for _, label, value in matchers(expr) if label == "http_route"}
    for folder in ("answers.rs", "openai/completions.rs"):
        for path in re.findall(r'utoipa::path\(\w+, path = "([^"]+)"', (ROOT / "src/http" / folder).read_text()):
            assert path in left_out
            left_out.remove(path)
    assert left_out == {"/api/health", "/api/ready", "/metrics"}


# --- Dashboards. ----------------------------------------------------------------------------------------------------------


def test_dashboards_are_there():
    assert set(DASHBOARDS) == {"service.json", "business.json", "dependencies.json", "rollout.json"}
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == len(DASHBOARDS)


@pytest.mark.parametrize("file", DASHBOARDS)
def test_dashboards_are_complete(file):
    dashboard = DASHBOARDS[file]
    assert dashboard["schemaVersion"] == 39
    assert dashboard["title"] and dashboard["description"]
    assert {"datasource", "namespace"} <= {variable["name"] for variable in dashboard["templating"]["list"]}
    panels = list(panels_of(dashboard))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["title"] and panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"] and all(target["expr"] for target in panel["targets"]), panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("file", DASHBOARDS)
def test_panels_do_not_overlap(file):
    taken = {}
    for panel in DASHBOARDS[file]["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            assert x < 24
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies over {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_own_metrics_are_asked_for_by_namespace():
    """On a dashboard staging and production must not be added up."""
    for file, dashboard in DASHBOARDS.items():
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                for name in filter(own, metric_names(target["expr"])):
                    for selector in re.findall(rf"(?<![\w:]){name}(?![\w:])(\{{[^}}]*)?", target["expr"]):
                        assert 'namespace="$namespace"' in selector, f"{file}: {panel['title']}: {name}"


# --- What is made of it all. ----------------------------------------------------------------------------------------------


def kustomization(folder):
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


@pytest.mark.parametrize("folder", [MONITORING, LOGGING], ids=lambda folder: folder.name)
def test_kustomization_lists_all(folder):
    listed = kustomization(folder)
    assert listed["kind"] == "Component"
    generated = [file.split("=")[-1] for made in listed.get("configMapGenerator", []) for file in made["files"]]
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(listed.get("resources", [])) | set(generated) == files - {"README.md", "kustomization.yaml"}


@pytest.mark.parametrize("folder", [MONITORING, LOGGING], ids=lambda folder: folder.name)
def test_it_builds(folder, tmp_path):
    assert shutil.which("kubectl"), "kubectl is missing: install version 1.30 or newer (https://kubernetes.io/docs/tasks/tools/)"
    relative = os.path.relpath(folder, tmp_path)
    overlay = {"kind": "Kustomization", "namespace": "production", "components": [relative]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    built = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    objects = list(yaml.safe_load_all(built.stdout))
    if folder == MONITORING:
        boards = [o for o in objects if o["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
        assert {name for board in boards for name in board["data"]} == set(DASHBOARDS)


def test_prometheus_finds_the_pods():
    monitor = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())["spec"]
    assert monitor["jobLabel"] == "app"
    assert monitor["selector"]["matchLabels"] == {"app": "mapleai-app"}
    assert monitor["podTargetLabels"] == ["rollouts-pod-template-hash", "version"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("ops", "/metrics")


def test_alerts_reach_somebody():
    spec = yaml.safe_load((MONITORING / "alertmanager.yaml").read_text())["spec"]
    receivers = {receiver["name"] for receiver in spec["receivers"]}
    reached = {}

    def walk(route):
        assert route["receiver"] in receivers
        for matcher in route.get("matchers", []):
            if matcher["name"] == "severity":
                reached[matcher["value"]] = route["receiver"]
        for below in route.get("routes", []):
            walk(below)

    walk(spec["route"])
    assert set(reached) == SEVERITIES
    assert len(set(reached.values())) == len(SEVERITIES)
    named = {rule["labels"]["severity"] for rule in ALERTS.values()}
    assert named <= set(reached)
    for inhibit in spec["inhibitRules"]:
        # Trouble in staging must never hide trouble in production.
        assert "namespace" in inhibit["equal"]
        for matcher in inhibit["sourceMatch"] + inhibit["targetMatch"]:
            known = SEVERITIES if matcher["name"] == "severity" else set(ALERTS)
            assert set(matcher["value"].split("|")) <= known
    by_area = [rule for rule in spec["inhibitRules"] if "area" in rule["equal"]]
    assert [rule["sourceMatch"][0]["value"] for rule in by_area] == ["page"]


def test_no_secret_is_written_down():
    """Addresses of receivers are secrets: whoever has them can wake people."""
    text = (MONITORING / "alertmanager.yaml").read_text()
    assert "http://" not in text and "https://" not in text


# --- Logs. ----------------------------------------------------------------------------------------------------------------


def test_logs_are_kept_for_30_days():
    loki = yaml.safe_load((LOGGING / "loki/loki.yaml").read_text())
    assert loki["limits_config"]["retention_period"] == "720h"
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["compactor"]["delete_request_store"]


def test_logs_have_few_streams():
    """What takes many values stays in the line: a label of it would make a stream of its own for each."""
    agent = (LOGGING / "loki/agent.alloy").read_text()
    labels = set()
    for block in re.findall(r"stage\.labels \{\s*values = \{(.*?)\}", agent, re.DOTALL):
        labels |= set(re.findall(r"^\s*(\w+)\s*=", block, re.MULTILINE))
    assert labels == {"level", "target"}
    added = set(re.findall(r'target_label\s*=\s*"(\w+)"', agent)) - {"__path__"}
    assert added == {"namespace", "app", "container", "pod"}
    assert "\"pod\"" in re.search(r"stage\.label_drop \{(.*?)\}", agent, re.DOTALL)[1]
