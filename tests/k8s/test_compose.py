"""compose.yaml: one machine's MapleAI with all that is around it. No engine is needed: what it says is held against the
schema of compose files, the service's configuration, and the cluster's dashboards and rules, which it shares."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from manifests import K8S, ROOT, after_drain, seconds

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MONITORING = K8S / "components" / "monitoring"
# Ends when its work is done.
ONE_SHOT = {"migrate"}


def environment(name):
    return SERVICES[name].get("environment", {})


def mounts(service):
    """(source, target, options) of each volume."""
    for volume in service.get("volumes", []):
        if isinstance(volume, dict):
            yield volume["source"], volume["target"], ["ro"] if volume.get("read_only") else []
        else:
            source, target, *options = volume.split(":")
            yield source, target, options


def mounted(name, target):
    """The file of the checkout that a service finds at `target`."""
    (source,) = [source for source, place, _ in mounts(SERVICES[name]) if place == target]
    return ROOT / source


def promtool(*arguments):
    program = shutil.which("promtool")
    assert program, "promtool is missing: install Debian's package prometheus"
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_of_compose_files_takes_it():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_that_was_asked_for_is_there():
    assert set(SERVICES) == {"migrate", "mapleai", "postgres", "redis", "prometheus", "grafana", "ollama", "local-model"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"ollama": ["ollama"], "local-model": ["local-model"]}


def test_images_are_pinned():
    for name, service in SERVICES.items():
        if "build" in service:
            assert re.fullmatch(r"mapleai(-local-model)?:compose", service["image"]), name
        else:
            assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", service["image"]), f"{name}: {service['image']}"
    # The major versions that the pipeline tests with.
    workflow = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()
    for name in ("postgres", "redis"):
        major = re.search(rf"image: {name}:(\d+)", workflow)[1]
        assert SERVICES[name]["image"].startswith(f"{name}:{major}."), name


def test_nothing_has_to_be_set():
    for variable in re.findall(r"\$\{([^}]*)\}", (ROOT / "compose.yaml").read_text()):
        assert re.search(":[-+]", variable), f"{variable} has no default"
    assert "env_file" not in str(COMPOSE) and "secrets" not in COMPOSE
    # Made-up models are there in development only.
    assert environment("mapleai")["MAPLE_ENV"] == "development"


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_locked_up(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    forbidden = {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "userns_mode"}
    assert forbidden & set(service) == ({"network_mode"} if name == "local-model" else set())
    assert service["mem_limit"] and service["pids_limit"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), f"{port} is open to other machines"
    for source, target, options in mounts(service):
        assert "docker.sock" not in source
        if source not in COMPOSE["volumes"]:
            assert options == ["ro"], f"{target}, a file of the machine, can be written"


def test_the_database_and_redis_reach_nobody():
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis", "migrate"):
        assert SERVICES[name]["networks"] == ["inside"] and "ports" not in SERVICES[name], name


def test_what_is_mounted_exists():
    named = set()
    for name, service in SERVICES.items():
        for source, target, _ in mounts(service):
            # What somebody names, or nothing.
            source = source.replace("${LOCAL_MODEL_FILE:-/dev/null}", "/dev/null")
            if source.startswith((".", "/")):
                assert (ROOT / source).exists(), f"{name}: {source} is not there"
            else:
                named.add(source)
    assert named == set(COMPOSE["volumes"])


def test_one_waits_for_the_other():
    conditions = {
        (name, other): what["condition"] for name, service in SERVICES.items() for other, what in service.get("depends_on", {}).items()
    }
    assert conditions == {
        ("migrate", "postgres"): "service_healthy",
        ("mapleai", "migrate"): "service_completed_successfully",
        ("mapleai", "redis"): "service_healthy",
        ("local-model", "mapleai"): "service_started",
        ("prometheus", "mapleai"): "service_healthy",
        ("grafana", "prometheus"): "service_healthy",
    }
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"HEALTHCHECK[^[]*(\[[^]]*\])", dockerfile) == [
        '["/usr/bin/local-model", "healthcheck", "--state", "/run/local-model/state.json"]',
        '["/usr/bin/mapleai", "healthcheck"]',
    ], "theirs are their images' own"
    for name, service in SERVICES.items():
        if "build" not in service:
            assert service["healthcheck"]["test"][0] == "CMD", name


# --- MapleAI. -------------------------------------------------------------------------------------------------------------


def plain_names():
    source = (ROOT / "crates/configuration/src/load/variables.rs").read_text()
    return set(re.findall(r'^    \("([A-Z_]+)", "MAPLE__', source, re.MULTILINE)) | {"MAPLE_ENV", "MAPLE_CONFIG_DIR"}


def is_known(variable):
    """Whether a variable sets a key of a section in crates/configuration."""
    is_key = variable == "MAPLE__LOG__FILE" or variable.endswith("__STATE_FILE")
    variable = variable if is_key else variable.removesuffix("_FILE")
    if variable in plain_names():
        return True
    prefix, *path = variable.lower().split("__")
    if prefix != "maple" or len(path) < 2:
        return False
    section = ROOT / f"crates/configuration/src/{path[0]}.rs"
    return section.is_file() and bool(
        re.search(rf'\b(?:required|optional|preset)\(\s*"{path[-1]}"', section.read_text())
    )


def test_the_service_knows_its_variables():
    for name in ("migrate", "mapleai"):
        unknown = [variable for variable in environment(name) if not is_known(variable)]
        assert not unknown, f"{name}: {unknown}"
    assert not is_known("MAPLE__SERVER__HOTS") and not is_known("MAPLE__SERVERS__HOST") and not is_known("DATABASE_URI")
    assert environment("migrate") == environment("mapleai")


def test_its_addresses_lead_to_the_services():
    variables = environment("mapleai")
    user, password, database = (environment("postgres")[f"POSTGRES_{key}"] for key in ("USER", "PASSWORD", "DB"))
    assert variables["DATABASE_URL"] == f"postgres://{user}:{password}@postgres:5432/{database}"
    assert variables["REDIS_URL"] == "redis://redis:6379"
    (port,) = SERVICES["mapleai"]["ports"]
    assert port == "127.0.0.1:${MAPLE_PORT:-3000}:3000"
    assert variables["MAPLE__SERVER__PUBLIC_URL"] == "http://localhost:${MAPLE_PORT:-3000}"


def test_its_journal_is_on_a_volume_that_its_user_may_write():
    folder = environment("mapleai")["MAPLE__USAGE__JOURNAL_DIR"]
    assert ("journal", folder, []) in list(mounts(SERVICES["mapleai"]))
    # A new volume takes over the owner of the image's folder.
    assert f"/image{folder}" in (ROOT / "Dockerfile").read_text()


def test_it_has_time_to_stop():
    assert environment("mapleai")["MAPLE_ENV"] == "development"
    default, development = ((ROOT / "config" / f"{name}.toml").read_text() for name in ("default", "development"))
    drain = sum(seconds(development, key) for key in ("drain_delay", "drain_timeout"))
    needed = drain + seconds(default, "stop_timeout") + after_drain()
    grace = SERVICES["mapleai"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= needed, f"{grace} are too few: {needed} s are needed"
    assert environment("mapleai")["MAPLE__SERVER__TERMINATION_GRACE"] == grace, "the process checks its own stop against it"


# --- The small model. -----------------------------------------------------------------------------------------------------


def test_mapleai_takes_up_the_small_model_only_when_it_is_asked_to():
    variables = environment("mapleai")
    assert variables["MAPLE__PROVIDERS__LOCAL__KIND"] == "${LOCAL_MODEL:+local}"
    assert variables["MAPLE__PROVIDERS__LOCAL__STATE_FILE"] == "${LOCAL_MODEL:+/run/local-model/state.json}"
    users = [name for name, service in SERVICES.items() if "local-model" in service.get("depends_on", {})]
    assert not users, "nothing that runs without the profile needs it"


def test_the_small_model_is_on_mapleai_s_loopback_and_its_key_goes_no_further():
    service = SERVICES["local-model"]
    # The address in the state file is a loopback one, and MapleAI takes no other.
    assert service["network_mode"] == "service:mapleai"
    assert not {"networks", "ports"} & set(service)
    assert service["depends_on"]["mapleai"]["restart"] is True, "it follows MapleAI into its next network"
    holders = {
        name: (target, options)
        for name, other in SERVICES.items()
        for source, target, options in mounts(other)
        if source == "local-model-state"
    }
    assert holders == {"mapleai": ("/run/local-model", ["ro"]), "local-model": ("/run/local-model", [])}


def test_the_small_model_has_an_image_of_its_own_which_is_not_mapleai_s():
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert SERVICES["local-model"]["build"] == {"context": ".", "target": "local-model"}
    assert ("scratch", "local-model") in stages
    assert stages[-1] == ("scratch", ""), "without a target MapleAI's image is built"
    assert SERVICES["mapleai"]["build"] == "."
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"COPY --from=(\S+)", last) == ["build"]
    # A state file that only its owner reads, and two programs that read it.
    assert re.findall(r"^USER (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE) == ["1001:1001"] * 2


def test_the_image_s_build_has_the_manifest_of_every_member():
    """Cargo reads all of them, whatever it builds; of what is beside crates/ nothing else may change a layer."""
    (members,) = re.search(r"^members = \[(.*)\]$", (ROOT / "Cargo.toml").read_text(), re.MULTILINE).groups()
    beside = set(re.findall(r'"([^"]+)"', members)) - {".", "crates/*"}
    assert beside, members
    for member in beside:
        assert f"!{member}/Cargo.toml" in (ROOT / ".dockerignore").read_text().splitlines()
        assert f"COPY {member}/Cargo.toml {member}/" in (ROOT / "Dockerfile").read_text().splitlines()
        assert f"{member}/src/main.rs" in (ROOT / "Dockerfile").read_text()


def test_the_small_model_computes_with_one_core_and_what_its_document_says_it_takes():
    service = SERVICES["local-model"]
    assert service["cpus"] == 1
    (limit,) = re.fullmatch(r"\$\{LOCAL_MODEL_MEMORY:-(\d+)m\}", service["mem_limit"]).groups()
    (most,) = re.search(r"at most (\d+) MiB", (ROOT / "docs/LOCAL-MODEL.md").read_text()).groups()
    assert int(limit) >= int(most) * 1.25
    assert int(service["stop_grace_period"].removesuffix("s")) >= 2


def test_the_small_model_s_volumes_are_folders_that_its_user_may_write():
    dockerfile = (ROOT / "Dockerfile").read_text()
    (cache,) = re.search(r"^ENV MAPLE_CACHE=(\S+)$", dockerfile, re.MULTILINE).groups()
    (owned,) = re.search(r"chown 1001:1001 (.*) \\$", dockerfile, re.MULTILINE).groups()
    volumes = {target for source, target, _ in mounts(SERVICES["local-model"]) if source in COMPOSE["volumes"]}
    assert volumes == {"/run/local-model", cache} == {folder.removeprefix("/image") for folder in owned.split()}


def test_a_person_s_own_file_takes_the_place_of_the_small_model_s():
    service = SERVICES["local-model"]
    assert service["environment"]["LOCAL_MODEL"] == "${LOCAL_MODEL_FILE:+/model.gguf}"
    assert ("${LOCAL_MODEL_FILE:-/dev/null}", "/model.gguf", ["ro"]) in list(mounts(service))
    (bind,) = [volume["bind"] for volume in service["volumes"] if isinstance(volume, dict)]
    assert bind == {"create_host_path": False}, "a path that is not there is told, not made"


# --- Prometheus and Grafana. ----------------------------------------------------------------------------------------------


def prometheus():
    return yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())


def test_prometheus_takes_its_configuration():
    promtool("check", "config", mounted("prometheus", "/etc/prometheus/prometheus.yml"))
    (ours,) = [job for job in prometheus()["scrape_configs"] if job["job_name"] == "mapleai-app"]
    (target,) = ours["static_configs"]
    port = environment("mapleai")["MAPLE__SERVER__OPS_ADDR"].rpartition(":")[2]
    assert target["targets"] == [f"mapleai:{port}"]
    # What rules and dashboards ask by; the PodMonitor gives them in a cluster.
    assert target["labels"]["namespace"] and target["labels"]["pod"].startswith("mapleai-app-")


def test_prometheus_gets_the_cluster_s_rules(tmp_path):
    """Runs the container's entry, with other folders and nothing in Prometheus' place."""
    start = mounted("prometheus", "/etc/prometheus/start.sh")
    assert SERVICES["prometheus"]["entrypoint"] == ["/bin/sh", "/etc/prometheus/start.sh"]
    resources = {
        target.rpartition("/")[2]: ROOT / source
        for source, target, _ in mounts(SERVICES["prometheus"])
        if target.startswith("/etc/prometheus/cluster/")
    }
    assert set(resources.values()) == set(MONITORING.glob("prometheusrule-*.yaml"))
    (tmp_path / "cluster").mkdir()
    for name, source in resources.items():
        shutil.copy(source, tmp_path / "cluster" / name)
    variables = {"RULES_FROM": str(tmp_path / "cluster"), "RULES_TO": str(tmp_path / "rules"), "PROMETHEUS": "echo"}
    command = ["/bin/sh", str(start), "--config.file=x"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    assert done.stdout == "--config.file=x\n"
    for name, source in resources.items():
        made = yaml.safe_load((tmp_path / "rules" / name).read_text())
        assert made == yaml.safe_load(source.read_text())["spec"], name
    promtool("check", "rules", *(tmp_path / "rules" / name for name in resources))
    assert prometheus()["rule_files"] == ["/tmp/rules/*.yaml"]
    assert "to=${RULES_TO:-/tmp/rules}" in start.read_text()
    assert "from=${RULES_FROM:-/etc/prometheus/cluster}" in start.read_text()


def test_dashboards_find_their_data_source():
    (source,) = yaml.safe_load(mounted("grafana", "/etc/grafana/provisioning/datasources/mapleai.yaml").read_text())["datasources"]
    assert source["isDefault"] is True
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == prometheus()["global"]["scrape_interval"]
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        (variable,) = [variable for variable in dashboard["templating"]["list"] if variable["type"] == "datasource"]
        assert variable["query"] == source["type"], path.name
        asked = set(re.findall(r'"uid": ?"([^"]*)"', json.dumps(dashboard)))
        allowed = {f"${{{variable['name']}}}", source["uid"], dashboard["uid"], "-- Grafana --"}
        assert asked <= allowed, f"{path.name}: {asked - allowed}"


def test_grafana_finds_the_cluster_s_dashboards():
    (provider,) = yaml.safe_load(mounted("grafana", "/etc/grafana/provisioning/dashboards/mapleai.yaml").read_text())["providers"]
    folder = provider["options"]["path"]
    assert mounted("grafana", folder) == MONITORING / "dashboards"
    home = environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder}/") and (MONITORING / "dashboards" / home.rpartition("/")[2]).is_file()
