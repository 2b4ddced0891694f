"""What the client suites share: the started server's address, and accounts made through its own API."""

import os
import time
import uuid
from dataclasses import dataclass

import pytest
import requests

PASSWORD = "correct horse battery maple"


@dataclass(frozen=True)
class Account:
    """A person who registered an organisation, and is signed in."""

    url: str
    email: str
    password: str
    access_token: str

    def call(self, method, path, expect=None, **arguments):
        """Calls the API as this person; `expect` is the one status that will do."""
        answer = requests.request(
            method,
            self.url + path,
            headers={"Authorization": f"Bearer {self.access_token}"},
            timeout=15,
            **arguments,
        )
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def new_key(self, name="client tests"):
        return self.call("POST", "/api/keys", expect=201, json={"name": name}).json()


@pytest.fixture(scope="session")
def maple_url():
    url = os.environ.get("MAPLE_URL")
    if not url:
        pytest.exit("MAPLE_URL is not set: these tests are run by scripts/test/*.sh, which start a server", returncode=2)
    return url.rstrip("/")


@pytest.fixture(scope="session")
def register(maple_url):
    """Makes a new account with an organisation of its own."""

    def make():
        email = f"{uuid.uuid4().hex}@clients.example"
        body = {"email": email, "password": PASSWORD, "name": "Ada Client", "organization": "Client tests"}
        answer = requests.post(f"{maple_url}/api/auth/register", json=body, timeout=30)
        assert answer.status_code == 201, answer.text
        return Account(maple_url, email, PASSWORD, answer.json()["access_token"])

    return make


@pytest.fixture(scope="module")
def account(register):
    return register()


@pytest.fixture(scope="session")
def eventually():
    """Waits for a condition: returns its first true value, and fails when `seconds` have passed without one."""

    def wait(condition, seconds=10, message="condition"):
        deadline = time.monotonic() + seconds
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {seconds} s: {message}"
            time.sleep(0.1)

    return wait
