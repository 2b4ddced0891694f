"""Known vulnerabilities stop the pipeline, and so does not knowing: against a database of our own with one made-up advisory."""

import datetime
import os
import re
import socket
import subprocess
import time
import tomllib

import pytest
from manifests import ROOT

ADVISORY = """```toml
[advisory]
id = "RUSTSEC-2026-9999"
package = "{package}"
date = "2026-11-01"
url = "https://advisories.example"

[versions]
patched = []
```

# A made-up fault

It is in no version of this crate.
"""


@pytest.fixture
def database(tmp_path):
    """database(PACKAGE): the address of an advisory database that knows one fault, in that crate."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["git", "daemon", f"--base-path={tmp_path}", "--export-all", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr"]
    daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def make(package):
        folder = tmp_path / "advisories"
        file = folder / "crates" / package / "RUSTSEC-2026-9999.md"
        file.parent.mkdir(parents=True)
        file.write_text(ADVISORY.format(package=package))
        for arguments in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "x"]):
            subprocess.run(["git", "-C", str(folder), *arguments], check=True)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return f"git://localhost:{port}/advisories"
            except OSError:
                assert time.monotonic() < deadline, "the git daemon does not listen"
                time.sleep(0.05)

    yield make
    os.killpg(daemon.pid, 15)
    daemon.wait(timeout=10)


def check(address, folder):
    environment = {**os.environ, "ADVISORY_DB": address, "ADVISORY_DB_FOLDER": str(folder / "fetched")}
    command = ["bash", "scripts/lint/deny.sh", "advisories"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_a_known_vulnerability_is_a_failure(database, tmp_path):
    done = check(database("itoa"), tmp_path)
    assert done.returncode != 0
    assert "RUSTSEC-2026-9999" in done.stdout + done.stderr


def test_one_in_a_crate_that_we_do_not_have_is_none(database, tmp_path):
    done = check(database("left-pad"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_database_that_cannot_be_fetched_is_a_failure(tmp_path):
    done = check("git://localhost:1/advisories", tmp_path)
    assert done.returncode != 0
    assert "fetch" in (done.stdout + done.stderr).lower()


def test_exceptions_have_a_reason_and_a_date_that_is_not_past():
    exceptions = tomllib.loads((ROOT / "deny.toml").read_text())["advisories"]["ignore"]
    for entry in exceptions:
        assert isinstance(entry, dict), f"{entry}: say why, and until when: {{ id, reason }}"
        until = re.search(r"until (\d{4}-\d{2}-\d{2})$", entry["reason"])
        assert until, f"{entry['id']}: the reason ends with `until YYYY-MM-DD`"
        assert datetime.date.fromisoformat(until.group(1)) >= datetime.date.today(), f"{entry['id']}: look at it again"
