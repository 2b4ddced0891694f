"""Migrations: squawk finds nothing in any of them, each can be undone, and what takes something away has been reviewed.

`mapleai checklist` looks at the same reviews before a deployment; this looks when the file is written.
"""

import hashlib
import re
import subprocess

import pytest
from manifests import ROOT, tool

MIGRATIONS = ROOT / "migrations"
UP = sorted(path.name for path in MIGRATIONS.glob("*.up.sql"))
# Applied by a release, so that they cannot be changed any more. What comes after them says how long it waits for locks.
BEFORE_LOCK_TIMEOUTS = "0008"
# What a review may allow.
DESTRUCTIVE_RULES = ["ban-drop-column", "ban-drop-table", "renaming-column", "renaming-table", "ban-truncate-cascade"]


def statements(text):
    """Without comments, in capitals, with single spaces."""
    return " ".join(re.sub(r"--.*", "", text).upper().split())


def destructive_words():
    """The checklist's own list, so that there is only one."""
    source = (ROOT / "crates/store/src/migrations/destructive.rs").read_text()
    (listed,) = re.findall(r"const DESTRUCTIVE: \[&str; \d+\] = \[(.*?)\];", source, re.DOTALL)
    return re.findall(r'"([A-Z ]+)"', listed)


def review(name):
    """The line of the file as it is in migrations/reviewed.txt: SHA-256, name, who, and why it is safe."""
    reviews = MIGRATIONS / "reviewed.txt"
    digest = hashlib.sha256((MIGRATIONS / name).read_bytes()).hexdigest()
    for line in reviews.read_text().splitlines() if reviews.exists() else []:
        words = line.split()
        if len(words) >= 4 and words[:2] == [digest, name]:
            return line
    return None


@pytest.mark.parametrize("name", UP)
def test_what_takes_something_away_has_been_reviewed(name):
    text = (MIGRATIONS / name).read_text()
    found = [word for word in destructive_words() if word in statements(text)]
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert not found or review(name), (
        f"{name} has {', '.join(found)} and no review of the file as it is; whoever has reviewed it adds to "
        f"migrations/reviewed.txt: {digest} {name} <who> <why it is safe>"
    )


@pytest.mark.parametrize("name", UP)
def test_each_can_be_undone(name):
    down = MIGRATIONS / name.replace(".up.sql", ".down.sql")
    assert down.exists() and statements(down.read_text()), f"{name} cannot be undone: {down.name} is missing or empty"


@pytest.mark.parametrize("name", UP)
def test_squawk_finds_nothing(name):
    text = (MIGRATIONS / name).read_text()
    # A migration may take longer than any request; the Job that runs it ends after 15 minutes.
    options, excluded = ["--pg-version=15.0", "--reporter=gcc"], ["require-statement-timeout"]
    if text.startswith("-- no-transaction"):
        # One statement, without room for a setting; building an index concurrently holds up no reader or writer.
        assert "CONCURRENTLY" in statements(text) and statements(text).count(";") == 1, f"{name}: one concurrent statement"
        excluded.append("require-lock-timeout")
    else:
        options.append("--assume-in-transaction")
        if name[:4] <= BEFORE_LOCK_TIMEOUTS:
            excluded.append("require-lock-timeout")
    if review(name):
        excluded += DESTRUCTIVE_RULES
    command = [tool("squawk"), *options, f"--exclude={','.join(excluded)}", str(MIGRATIONS / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{name}:\n{done.stdout}{done.stderr}"


def test_numbers_follow_one_another():
    assert [int(name[:4]) for name in UP] == list(range(1, len(UP) + 1)), UP
