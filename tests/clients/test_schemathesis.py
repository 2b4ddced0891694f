"""Every operation of /api/openapi.json, tried by schemathesis: no 5xx, no undocumented answer."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

HERE = pathlib.Path(__file__).resolve().parent
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
SIGN_OUT = "POST /api/auth/logout"
DOCUMENT = "GET /api/openapi.json"
# Operations that the main run leaves out, each with its reason.
EXCLUDED = {
    SIGN_OUT: "its first valid call ends the session that all the others are tried with; test_signing_out tries it",
    DOCUMENT: "the tool leaves out what it reads the document from, unless that is named; test_the_document names it",
}
EXAMPLES = 200
PROCESSES = max(1, min(4, len(os.sched_getaffinity(0))))


@pytest.fixture(scope="module")
def document(maple_url):
    answer = requests.get(f"{maple_url}/api/openapi.json", timeout=10)
    assert answer.status_code == 200
    return answer.json()


def operations(document):
    """Name -> whether it takes any input that can be varied."""
    found = {}
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            parameters = [*item.get("parameters", []), *item[method].get("parameters", [])]
            found[f"{method.upper()} {path}"] = bool(parameters) or "requestBody" in item[method]
    return found


def run_schemathesis(maple_url, account, folder, *arguments, seconds):
    """Runs the command line tool; returns how often it called each operation."""
    for name in ("schemathesis.toml", "schemathesis_hooks.py"):
        shutil.copy(HERE / name, folder)
    counts = folder / "calls.json"
    finished = subprocess.run(
        [
            *(str(pathlib.Path(sys.executable).parent / "st"), "run"),
            *(f"{maple_url}/api/openapi.json", "--no-color"),
            *("-H", f"Authorization: Bearer {account.access_token}"),
            *arguments,
        ],
        # It looks for its configuration in the working directory, and keeps files of its own there.
        cwd=folder,
        env={
            **os.environ,
            "MAPLE_URL": maple_url,
            "MAPLE_TOKEN": account.access_token,
            "MAPLE_EMAIL": account.email,
            "MAPLE_PASSWORD": account.password,
            "MAPLE_CALL_COUNTS": str(counts),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    print(finished.stdout)
    assert finished.returncode == 0, "schemathesis found faults; its report is above"
    return json.loads(counts.read_text(encoding="utf-8"))


@pytest.mark.timeout(960)
def test_every_operation(maple_url, register, document, tmp_path):
    expected = operations(document)
    for name in EXCLUDED:
        expected.pop(name)
    # The tool computes on one processor. Each of these has an account of its own, so that none ends what another goes by.
    names = sorted(expected)
    shares = [names[first::PROCESSES] for first in range(PROCESSES)]

    def try_share(number):
        account, folder = register(), tmp_path / str(number)
        folder.mkdir()
        chosen = [argument for name in shares[number] for argument in ("--include-name", name)]
        called = run_schemathesis(maple_url, account, folder, *chosen, seconds=900)
        # If a generated call had ended the session, the rest of the run would have seen nothing but 401.
        account.call("GET", "/api/users/me", expect=200)
        return called

    with ThreadPoolExecutor(PROCESSES) as running:
        called = sum(map(collections.Counter, running.map(try_share, range(PROCESSES))), collections.Counter())

    untried = [name for name in expected if not called.get(name)]
    assert not untried
    # An operation that takes no input has one example: the call itself.
    too_few = {name: called[name] for name, varies in expected.items() if varies and called[name] < EXAMPLES}
    assert not too_few, f"fewer than {EXAMPLES} examples"


@pytest.mark.timeout(120)
def test_signing_out(maple_url, register, document, tmp_path):
    assert SIGN_OUT in operations(document)
    account = register()
    called = run_schemathesis(
        maple_url,
        account,
        tmp_path,
        *("--include-name", SIGN_OUT),
        seconds=100,
    )
    assert called.get(SIGN_OUT)
    account.call("GET", "/api/users/me", expect=401)


@pytest.mark.timeout(120)
def test_the_document(maple_url, register, document, tmp_path):
    assert DOCUMENT in operations(document)
    called = run_schemathesis(maple_url, register(), tmp_path, *("--include-name", DOCUMENT), seconds=100)
    assert called.get(DOCUMENT)
