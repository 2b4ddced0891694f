"""scripts/delivery/bench-check.sh against the small server that answers like MapleAI, or too slowly."""

import os
import pathlib
import shutil

import pytest

from test_health_check import EMAIL, PASSWORD, TOKEN, address, fake, run  # noqa: F401 - the fixtures

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = "scripts/delivery/bench-check.sh"
# As many questions as need be, and no long wait for them.
SMALL = {
    "RATE": "40",
    "REQUESTS": "20",
    "MAX_TOKENS": "8",
    "ANSWER_P95_SECONDS": "0.5",
    "ERROR_SHARE": "0.05",
    "CACHED_READS": "10",
    "CACHED_READ_P95_SECONDS": "0.1",
}


@pytest.fixture
def bench(tmp_path):
    """The script with bounds of its own; it lies where the real one does, seen from the rest."""
    folder = tmp_path / "scripts"
    (folder / "delivery").mkdir(parents=True)
    shutil.copy2(ROOT / "scripts/environment.sh", folder)
    for name in ("bench-check.sh", "bench_check.py"):
        shutil.copy2(ROOT / "scripts/delivery" / name, folder / "delivery")

    def check(*arguments, bounds=None, **environment):
        lines = [f"{name}={value}" for name, value in {**SMALL, **(bounds or {})}.items() if value is not None]
        (folder / "delivery/bounds.env").write_text("\n".join(["# How much.", *lines]) + "\n")
        settings = {"SMOKE_EMAIL": EMAIL, "SMOKE_PASSWORD": PASSWORD, "HOME": str(tmp_path), **environment}
        return run(folder / "delivery/bench-check.sh", *arguments, **settings)

    return check


def says(done, *texts, status=1):
    assert done.returncode == status, done.stdout
    for text in texts:
        assert text in done.stdout, f"{text!r} is not in: {done.stdout}"


def test_within_its_bounds(bench, fake, address):  # noqa: F811
    done = bench(address + "/")
    says(done, "chat-1 is asked 21 times for at most 8 tokens each: this costs up to 168 tokens", "is within its bounds", status=0)
    rows = [line for line in done.stdout.splitlines() if line.endswith("ok")]
    assert len(rows) == 4, done.stdout
    assert fake.logins == [{"email": EMAIL, "password": PASSWORD}]
    assert fake.paths[-1] == "/api/auth/logout"
    assert all(asked["model"] == "chat-1" and asked["max_tokens"] == 8 for asked in fake.asked)
    load = [asked for asked in fake.asked if "temperature" not in asked]
    assert len({asked["messages"][0]["content"] for asked in load}) == 20, "each is new, so that the model itself is heard"
    assert sum(asked["stream"] for asked in load) == 7
    assert len({str(asked) for asked in fake.asked if "temperature" in asked}) == 1


def test_questions_leave_when_their_time_has_come(bench, fake, address):  # noqa: F811
    """Twenty slow ones in half a second: waiting for each other they would take six."""
    fake.answer_seconds = 0.3
    done = bench(address)
    says(done, status=0)
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("answers, p95")]
    assert 0.3 <= float(row.split()[-3]) < 0.5, row


def test_slow_answers(bench, fake, address):  # noqa: F811
    fake.answer_seconds = 0.3
    says(bench(address, bounds={"ANSWER_P95_SECONDS": "0.2"}), "0.200  FAIL", "is outside its bounds: answers, p95 in s")


def test_slow_reads(bench, fake, address):  # noqa: F811
    fake.profile_seconds = 0.12
    says(bench(address), "0.100  FAIL", "is outside its bounds: profile from the cache, p95 in s")


def test_errors(bench, fake, address):  # noqa: F811
    fake.failing = {15, 20}
    says(bench(address), "failed: 2 x status 503", "0.100       0.050  FAIL", "is outside its bounds: answers that failed, share")
    assert fake.paths[-1] == "/api/auth/logout"


def test_as_many_errors_as_may_be(bench, fake, address):  # noqa: F811
    fake.failing = {15}
    says(bench(address), "failed: 1 x status 503", "is within its bounds", status=0)


def test_streams_without_their_end(bench, fake, address):  # noqa: F811
    fake.events = ['{"choices": []}']
    says(bench(address), "failed: 7 x a stream without its end")


def test_nothing_comes_from_the_cache(bench, fake, address):  # noqa: F811
    fake.cache = ["miss"]
    says(bench(address), "answers from the cache: 0 of 10 were, expected at least half")


def test_a_model_whose_answers_are_not_remembered(bench, fake, address):  # noqa: F811
    fake.cache = ["bypass"]
    says(bench(address), "note: answers of chat-1 are not remembered", "is within its bounds", status=0)


def test_the_model_that_is_wanted(bench, fake, address):  # noqa: F811
    says(bench(address, BENCH_MODEL="chat-2"), "chat-2 is asked", status=0)
    says(bench(address, BENCH_MODEL="embed-1"), "BENCH_MODEL must be one of chat-1, chat-2, not 'embed-1'", status=2)
    fake.models = []
    says(bench(address), "expected a chat model on offer, none came")


def test_signing_in_fails(bench, fake, address):  # noqa: F811
    fake.login_status = 401
    says(bench(address), "sign in: expected 200, 401 came")
    assert not fake.asked


def test_nothing_there(bench):
    says(bench("http://127.0.0.1:9"), "sign in: no whole answer came")


def test_what_is_there_is_not_mapleai(bench, fake, address):  # noqa: F811
    fake.models = [{"name": "Chat"}]
    says(bench(address), "does not answer as MapleAI does")


def test_password_and_token_are_in_no_arguments_and_not_told(bench, fake, address, tmp_path):  # noqa: F811
    log = tmp_path / "log"
    wrapper = tmp_path / "python3"
    wrapper.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >>'{log}'\nexec {shutil.which('python3')} \"$@\"\n")
    wrapper.chmod(0o755)
    done = bench(address, PATH=f"{tmp_path}:{os.environ['PATH']}")
    says(done, status=0)
    assert "bench_check.py" in log.read_text()
    for secret in ("secret", TOKEN):
        assert secret not in log.read_text() and secret not in done.stdout


@pytest.mark.parametrize("arguments", [[], ["http://a", "http://b"]])
def test_the_number_of_words(bench, arguments):
    says(bench(*arguments), "usage: bench-check.sh URL")


@pytest.mark.parametrize("url", ["maple.example", "ftp://a", "http://ada:word@a", "http://a?b"])
def test_what_is_no_address(bench, url):
    says(bench(url), "URL must be an http or https address without credentials")


def test_no_account(bench):
    says(bench("http://maple.example", SMOKE_PASSWORD=""), "SMOKE_EMAIL and SMOKE_PASSWORD must be set", status=2)


@pytest.mark.parametrize(
    "bounds, told",
    [
        ({"RATE": None, "REQUESTS": None}, "lacks RATE, REQUESTS"),
        ({"RATE": "fast"}, "RATE must be a number above 0 and below 10000, not 'fast'"),
        ({"REQUESTS": "0"}, "REQUESTS must be a number above 0"),
        ({"ERROR_SHARE": "-1"}, "ERROR_SHARE must be a number"),
        ({"P95": "1"}, "has P95, which is not known; known are RATE, REQUESTS, MAX_TOKENS"),
    ],
)
def test_bounds_that_are_none(bench, bounds, told):
    says(bench("http://127.0.0.1:9", bounds=bounds), told, status=2)


def test_the_bounds_of_the_project(bench, fake, address):  # noqa: F811
    """They are understood, and the load they make is small."""
    lines = (ROOT / "scripts/delivery/bounds.env").read_text().splitlines()
    bounds = dict(line.split("=") for line in lines if line and not line.startswith("#"))
    assert set(bounds) == set(SMALL)
    assert float(bounds["REQUESTS"]) <= 100 and float(bounds["MAX_TOKENS"]) <= 32
    assert float(bounds["REQUESTS"]) / float(bounds["RATE"]) <= 60
    says(bench(address, bounds={**bounds, "RATE": "200"}), "is within its bounds", status=0)
