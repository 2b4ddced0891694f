"""The image, built and run for real: who it is, what it may write, how it starts, what it answers, how it stops.

The image's name comes in MAPLE_IMAGE, the client in MAPLE_DOCKER; `make image-test` sets them and TEST_DATABASE_URL. What was
found is written to MAPLE_REPORT.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import time

import pytest

import service
from load import Load
from upstream import serve

LIMIT_MB = 80
IMAGE = os.environ["MAPLE_IMAGE"]
LOCKED = ["--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
FOUND = {}


def docker(*arguments, check=True, timeout=120):
    done = subprocess.run([os.environ["MAPLE_DOCKER"], *arguments], capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout.strip() if check else done


@pytest.fixture(scope="module")
def inspected():
    return json.loads(docker("image", "inspect", IMAGE))[0]


@pytest.fixture(scope="module")
def running():
    """A migrated database and one container on it, with its journal on a mounted folder."""
    port, ops = service.free_port(), service.free_port()
    upstream = serve(service.free_port(), latency=0.05)
    # Production refuses a provider without TLS only for the mock; a plain one is a private network's own affair.
    variables = service.settings(port, ops, os.environ["TEST_DATABASE_URL"], upstream.server_address[1], MAPLE_ENV="production")
    variables.pop("MAPLE__LOG__FILE")
    environment = [f"--env={name}={value}" for name, value in variables.items()]
    journal = pathlib.Path(tempfile.mkdtemp(prefix="mapleai-journal."))
    os.chown(journal, 1001, 1001)
    arguments = [*LOCKED, *environment, f"--volume={journal}:/var/lib/mapleai/journal"]
    migrated = docker("run", "--rm", *arguments, IMAGE, "migrate", check=False)
    assert migrated.returncode == 0, migrated.stdout + migrated.stderr
    FOUND["migrates"] = True
    began = time.monotonic()
    name = f"mapleai-image-test-{os.getpid()}"
    docker("run", "--detach", "--name", name, "--health-interval=2s", *arguments, IMAGE)
    try:
        service.wait_until("readiness", lambda: service.is_ready(port), limit=60)
        FOUND["ready_after_seconds"] = round(time.monotonic() - began, 1)
        yield {"name": name, "port": port, "ops": ops, "journal": journal}
    finally:
        print(docker("logs", name, check=False).stdout[-3000:])
        docker("rm", "--force", name, check=False)
        upstream.shutdown()
        shutil.rmtree(journal, ignore_errors=True)


def test_what_it_says_of_itself(inspected):
    config = inspected["Config"]
    assert config["User"] == "1001:1001"
    assert "3000/tcp" in config["ExposedPorts"]
    assert "MAPLE_ENV=production" in config["Env"]
    assert config["Entrypoint"] == ["/usr/bin/mapleai"] and config["Cmd"] == ["serve"], "exec form: the signal arrives"
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/mapleai", "healthcheck"]
    labels = config["Labels"]
    for label in ("title", "version", "revision", "created", "source", "licenses"):
        assert labels.get(f"org.opencontainers.image.{label}"), label
    revision = os.environ["MAPLE_REVISION"]
    assert labels["org.opencontainers.image.revision"] == revision
    FOUND["revision"] = revision


def test_its_size(inspected):
    FOUND["size_mb"] = round(inspected["Size"] / 1e6, 1)
    assert inspected["Size"] < LIMIT_MB * 1e6, f"{FOUND['size_mb']} MB; at most {LIMIT_MB}"


def test_there_is_no_shell_and_the_list_of_dependencies_is_in_the_binary():
    for program in ("/bin/sh", "sh", "bash", "/bin/busybox"):
        done = docker("run", "--rm", "--network=host", "--entrypoint", program, IMAGE, "-c", "true", check=False)
        assert done.returncode == 127, program
    container = docker("create", IMAGE)
    with tempfile.NamedTemporaryFile() as binary:
        docker("cp", f"{container}:/usr/bin/mapleai", binary.name)
        assert b".dep-v0" in pathlib.Path(binary.name).read_bytes(), "not built with cargo auditable"
    docker("rm", container)
    FOUND["auditable"] = True


def test_it_holds_nothing_of_the_model_that_is_for_development(tmp_path):
    container = docker("create", IMAGE)
    docker("export", "--output", str(tmp_path / "files.tar"), container)
    docker("rm", container)
    with tarfile.open(tmp_path / "files.tar") as files:
        names = files.getnames()
    assert "usr/bin/mapleai" in names
    found = [name for name in names if "local-model" in name or name.endswith(".gguf")]
    assert not found, found


def process(running):
    return int(docker("inspect", "--format", "{{.State.Pid}}", running["name"]))


def test_whom_it_runs_as_and_what_it_may(running):
    status = pathlib.Path(f"/proc/{process(running)}/status").read_text()
    assert re.search(r"^Uid:\s+1001\s+1001\s+1001\s+1001$", status, re.MULTILINE), status
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    mounts = pathlib.Path(f"/proc/{process(running)}/mountinfo").read_text().splitlines()
    (root,) = [line for line in mounts if line.split()[4] == "/"]
    assert "ro" in root.split()[5].split(","), root
    FOUND["uid"], FOUND["root_file_system"] = 1001, "read-only"


def test_it_answers_and_its_journal_is_on_the_volume(running):
    _, key = service.account(running["port"])
    with Load(running["port"], key, rate=20) as load:
        time.sleep(2)
    assert len(load.results) > 20 and not load.failed(), load.failed()[:3]
    files = list(running["journal"].iterdir())
    assert files and all(file.stat().st_uid == 1001 for file in files), files


def test_the_health_check_turns_healthy(running):
    def health():
        return docker("inspect", "--format", "{{.State.Health.Status}}", running["name"]) == "healthy"

    service.wait_until("healthy", health, limit=60, pause=0.5)
    FOUND["health_check"] = "healthy"


def test_it_drains_under_load_and_ends_with_0(running):
    """Callers go on until readiness says no, as a balancer has them do; then none that was sent is lost."""
    _, key = service.account(running["port"])
    with Load(running["port"], key, rate=60) as load:
        time.sleep(2)
        began = time.monotonic()
        docker("kill", "--signal=TERM", running["name"])
        service.wait_until("readiness to say no", lambda: not service.is_ready(running["port"]), limit=5, pause=0.02)
        time.sleep(1)
        load.paused.set()
        code = docker("wait", running["name"])
        FOUND["stop_seconds"] = round(time.monotonic() - began, 1)
    assert code == "0", docker("logs", "--tail", "30", running["name"])
    assert not load.failed(), load.failed()[:5]
    FOUND["drained"] = {"requests": len(load.results), "failed": len(load.failed()), "exit_code": int(code)}


def test_the_report_is_written():
    """Last: what the others found."""
    wanted = {"size_mb", "uid", "root_file_system", "ready_after_seconds", "health_check", "drained", "auditable", "migrates"}
    assert wanted <= set(FOUND), wanted - set(FOUND)
    report = os.environ.get("MAPLE_REPORT")
    if report:
        pathlib.Path(report).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(report).write_text(json.dumps({"commit": FOUND.pop("revision"), **FOUND}, indent=2) + "\n")
