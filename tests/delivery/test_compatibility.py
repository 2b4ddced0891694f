"""Expand, then contract: two releases share a schema while one replaces the other. `make compatibility`."""

import os
import pathlib
import time

import pytest

import people
import service
from load import Load
from stage import Version

OLD, NEW = os.environ["MAPLE_OLD"], os.environ["MAPLE_NEW"]
FOLDER = pathlib.Path(os.environ["MAPLE_FOLDER"])


def migrate(binary, database, **more):
    service.run(binary, "migrate", service.settings(0, service.free_port(), database, 1, **more))


def migrate_to_new(database):
    """What staging asks for first has tests of its own; the previous release may not know the key."""
    migrate(NEW, database, MAPLE__MIGRATIONS__REVIEW="none")


@pytest.fixture
def version():
    started = []

    def start(name, binary, database):
        made = Version(name, binary, FOLDER, database)
        started.append(made)
        made.start(latency=0.02)
        return made

    yield start
    for made in started:
        made.stop()


def test_the_previous_release_serves_on_the_new_schema(version):
    """It starts there, too, as a pod does that is moved in the middle of a roll-out."""
    database = os.environ["MAPLE_DATABASE"]
    migrate(OLD, database)
    old = version("old", OLD, database)
    service.wait_until("the old version", old.is_ready)
    token, key = service.account(old.port)
    assert reported(old, token) == 0
    with Load(old.port, key, rate=40) as load:
        time.sleep(2)
        migrate_to_new(database)
        time.sleep(3)
        new = version("new", NEW, database)
        service.wait_until("the new version", new.is_ready)
        with Load(new.port, key, rate=40) as other:
            time.sleep(5)
            # Under load, and with the versions both ways round.
            for making, asked in ((old, old), (old, new), (new, old)):
                people.live(making.port, asked.port)
        again = version("old-again", OLD, database)
        service.wait_until("the old version, started on the new schema", again.is_ready)
        time.sleep(1)
    for part in (load, other):
        assert len(part.results) > 150 and not part.failed(), part.failed()[:5]
    # What one wrote the other reads: sessions, keys, usage.
    for port in (old.port, new.port, again.port):
        assert service.call(port, "GET", "/api/users/me", token=token)[0] == 200
        people.live(port, new.port)
    # Each call that was answered is in the report, once, whichever version answered it.
    answered = len(load.answered) + len(other.answered)
    assert answered > 250
    service.wait_until("all records", lambda: reported(new, token) >= answered, limit=20)
    time.sleep(2)
    for one in (old, new, again):
        assert reported(one, token) == answered


def reported(version, token):
    status, usage = service.call(version.port, "GET", "/api/usage", token=token)
    assert status == 200, usage
    return usage["totals"]["requests"]


def test_the_new_release_waits_on_the_old_schema_until_it_is_migrated(version):
    """The plan migrates first; whoever forgets it has pods that are not ready, and an old version that serves on."""
    database = os.environ["MAPLE_OLD_DATABASE"]
    migrate(OLD, database)
    new = version("early", NEW, database)
    service.wait_until("liveness", lambda: alive(new))
    time.sleep(3)
    status, ready = service.call(new.port, "GET", "/api/ready")
    if status == 200:
        pytest.skip("no migration is new since the previous release")
    assert status == 503 and "database_migrations" in str(ready), ready
    migrate_to_new(database)
    service.wait_until("readiness after the migration, with no restart", new.is_ready, limit=30)


def alive(version):
    try:
        return service.call(version.port, "GET", "/api/health?probe=liveness")[0] == 200
    except OSError:
        return False
