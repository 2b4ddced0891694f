"""MapleAI as a process for the tests of delivery: its settings, an account and a key."""

import http.client
import json
import os
import pathlib
import socket
import subprocess
import time

from upstream import MODEL

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings(port, ops_port, database, upstream_port, **more):
    """Like production as far as one machine can be: a real provider, JSON logs, short drains."""
    model = f'[{{ id = "{MODEL}", provider = "rehearsal", kind = "chat", input_price = "1.00", output_price = "2.00" }}]'
    return {
        "MAPLE_ENV": "staging",
        "PORT": str(port),
        "MAPLE__SERVER__OPS_ADDR": f"127.0.0.1:{ops_port}",
        "MAPLE__SERVER__PUBLIC_URL": "https://rehearsal.example",
        "DATABASE_URL": database,
        "MAPLE__AUTH__ACTIVE_KEY": "k1",
        "MAPLE__AUTH__SIGNING_KEYS__K1": "rehearsal-" + "k" * 40,
        "MAPLE__AUTH__OPEN_REGISTRATION": "true",
        "MAPLE__PROVIDERS__REHEARSAL__KIND": "openai",
        "MAPLE__PROVIDERS__REHEARSAL__BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "MAPLE__MODELS": model,
        "MAPLE__LOG__FILE": "",
        **more,
    }


def surroundings(binary, environment):
    """Each release reads the configuration it came with: what lies beside its binary, or else this checkout's."""
    own = pathlib.Path(binary).with_name("config")
    config = own if own.is_dir() else ROOT / "config"
    return {"PATH": os.environ["PATH"], "MAPLE_CONFIG_DIR": str(config), **environment}


def start(binary, environment, log):
    return subprocess.Popen(
        [str(binary), "serve"],
        env=surroundings(binary, environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


def run(binary, command, environment):
    done = subprocess.run(
        [str(binary), command],
        env=surroundings(binary, environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def call(port, method, path, body=None, token=None, timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read()
        kind = response.headers.get("Content-Type", "")
        return response.status, json.loads(text) if "json" in kind and text else text.decode()
    finally:
        connection.close()


def is_ready(port):
    try:
        return call(port, "GET", "/api/ready", timeout=4)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def wait_until(what, look, limit=60, pause=0.1):
    deadline = time.monotonic() + limit
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {limit} s"
        time.sleep(pause)
    return found


def account(port):
    """A new organisation's access token and API key."""
    name = f"rehearsal-{time.time_ns()}@maple.example"
    registration = {"email": name, "password": "a password for rehearsals", "name": "Ada", "organization": "Rehearsal"}
    status, answer = call(port, "POST", "/api/auth/register", registration)
    assert status == 201, answer
    token = answer["access_token"]
    status, key = call(port, "POST", "/api/keys", {"name": "rehearsal"}, token)
    assert status == 201, key
    return token, key["key"]
