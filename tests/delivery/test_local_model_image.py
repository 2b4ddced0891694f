"""The image of the small model beside MapleAI, run as compose.yaml runs it: locked up, with one core, its state on a volume that
another container reads.

The image's name comes in MAPLE_IMAGE, the client in MAPLE_DOCKER, a model's file in MAPLE_MODEL_FILE; `make model-image-test`
sets them.
"""

import http.client
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import urllib.request

import pytest

import service

IMAGE = os.environ["MAPLE_IMAGE"]
LIMIT_MB = 40
# The host's network in place of MapleAI's: the loopback address of the state file is then this machine's.
LOCKED = ["--network=host", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
LIMITS = ["--cpus=1", "--memory=640m", "--pids-limit=64"]
STATE = "/run/local-model/state.json"
# Where another container has the volume: a folder that its image does not have, as MapleAI's has none.
ELSEWHERE = "/elsewhere"


def docker(*arguments, check=True, timeout=120):
    done = subprocess.run([os.environ["MAPLE_DOCKER"], *arguments], capture_output=True, text=True, timeout=timeout)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done


@pytest.fixture(scope="module")
def volume():
    """A new volume, mounted by a reader first: compose starts MapleAI before the model."""
    name = f"local-model-test-{os.getpid()}"
    docker("volume", "create", name)
    try:
        docker("run", "--rm", *LOCKED, f"--volume={name}:{ELSEWHERE}:ro", IMAGE, "--version")
        yield name
    finally:
        docker("volume", "rm", "--force", name)


@pytest.fixture
def running(volume):
    name = f"local-model-image-test-{os.getpid()}"
    file = pathlib.Path(os.environ["MAPLE_MODEL_FILE"]).resolve()
    mounts = [f"--volume={volume}:/run/local-model", f"--volume={file}:/model.gguf:ro", "--env=LOCAL_MODEL=/model.gguf"]
    docker("run", "--detach", "--name", name, "--health-interval=1s", *LOCKED, *LIMITS, *mounts, IMAGE)
    try:
        service.wait_until("the model to be ready", lambda: (state(name) or {}).get("state") == "ready", limit=120, pause=0.2)
        yield name
    finally:
        print(docker("logs", name, check=False).stderr[-3000:])
        docker("rm", "--force", name, check=False)


def state(name):
    """What the state file says, if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        copied = docker("cp", f"{name}:{STATE}", f"{folder}/state.json", check=False)
        return json.loads(pathlib.Path(folder, "state.json").read_text()) if copied.returncode == 0 else None


def ask(name, **more):
    """The open answer to a question."""
    ready = state(name)
    question = {"model": ready["model"], "messages": [{"role": "user", "content": "What is the capital of France?"}], **more}
    headers = {"Authorization": f"Bearer {ready['key']}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{ready['url']}/chat/completions", json.dumps(question).encode(), headers)
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)


def test_what_it_says_of_itself():
    (inspected,) = json.loads(docker("image", "inspect", IMAGE).stdout)
    config = inspected["Config"]
    assert config["User"] == "1001:1001"
    assert config["Entrypoint"] == ["/usr/bin/local-model"] and config["Cmd"] == ["run", "--state", STATE]
    assert config["Healthcheck"]["Test"] == ["CMD", "/usr/bin/local-model", "healthcheck", "--state", STATE]
    assert not config.get("ExposedPorts"), "it listens on loopback alone"
    assert inspected["Size"] < LIMIT_MB * 1e6, f"{inspected['Size'] / 1e6:.1f} MB; at most {LIMIT_MB}"


def test_there_is_no_shell_and_the_list_of_dependencies_is_in_the_binary(tmp_path):
    done = docker("run", "--rm", "--network=host", "--entrypoint=/bin/sh", IMAGE, "-c", "true", check=False)
    assert done.returncode == 127
    container = docker("create", IMAGE).stdout.strip()
    docker("cp", f"{container}:/usr/bin/local-model", str(tmp_path / "local-model"))
    docker("rm", container)
    assert b".dep-v0" in (tmp_path / "local-model").read_bytes(), "not built with cargo auditable"


def test_it_answers_with_one_thread_on_one_core_and_whom_it_runs_as(running, volume):
    assert re.search(r"answers now \(threads: 1,", docker("logs", running).stderr), "one thread"
    with ask(running, max_tokens=16) as answer:
        (choice,) = json.load(answer)["choices"]
    # So small a model is often wrong.
    assert choice["message"]["content"].strip(), choice
    process = docker("inspect", "--format", "{{.State.Pid}}", running).stdout.strip()
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    assert re.search(r"^Uid:\s+1001\s+1001\s+1001\s+1001$", status, re.MULTILINE), status
    assert re.search(r"^CapEff:\s+0+$", status, re.MULTILINE)

    def health():
        return docker("inspect", "--format", "{{.State.Health.Status}}", running).stdout.strip() == "healthy"

    service.wait_until("healthy", health, limit=60, pause=0.5)
    # Another container with MapleAI's user reads the state, and may not write it.
    reader = [*LOCKED, f"--volume={volume}:{ELSEWHERE}:ro", IMAGE]
    docker("run", "--rm", *reader, "healthcheck", "--state", f"{ELSEWHERE}/state.json")
    written = docker("run", "--rm", "--env=LOCAL_MODEL=/nothing.gguf", *reader, "run", "--state", f"{ELSEWHERE}/state.json", check=False)
    assert "Read-only file system" in written.stderr, written.stderr


def test_a_signal_ends_it_in_mid_answer_and_its_state_with_it(running, volume):
    with ask(running, stream=True, max_tokens=1000) as answer:
        assert answer.readline().startswith(b"data:")
        reading = threading.Thread(target=drain, args=(answer,))
        reading.start()
        docker("stop", "--time=5", running)
        reading.join(timeout=30)
        assert not reading.is_alive()
    times = json.loads(docker("inspect", "--format", "{{json .State}}", running).stdout)
    assert times["ExitCode"] == 0, "it was killed"
    reader = [*LOCKED, f"--volume={volume}:{ELSEWHERE}:ro", IMAGE]
    gone = docker("run", "--rm", *reader, "healthcheck", "--state", f"{ELSEWHERE}/state.json", check=False)
    assert gone.returncode == 1 and "No such file" in gone.stderr, gone.stderr


def drain(answer):
    """To its end, which may come in the middle of it."""
    try:
        while answer.read(4096):
            pass
    except (OSError, http.client.HTTPException):
        pass
