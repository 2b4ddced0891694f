"""`mapleai smoke`, by scripts/health-check.sh, and notifications against a small server that answers like MapleAI, or wrongly."""

import contextlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import threading
import time

import pytest

import checkout

ROOT = pathlib.Path(__file__).resolve().parents[2]
# As scripts/k8s/test.sh has built it.
BINARY = os.environ.get("MAPLE_BINARY") or os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug/mapleai")
EMAIL = 'ada "the first"@maple.example'
PASSWORD = 'a\\secret "pass\tword" $HOME'
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl-_"
METRICS = 'maple_build_info{version="1.2.3"} 1\nmaple_completions_total{outcome="completed"} 3\n'


class Fake:
    """What the server does; a test changes what it is about."""

    def __init__(self):
        self.liveness = (200, {"status": "pass"})
        self.ready_after = 0.0
        self.health = "pass"
        self.checks = {"database_connection": "pass", "redis_connection": "pass", "external_services": "pass"}
        self.chat_status = 200
        self.cache = ["miss", "hit"]
        self.events = ['{"choices": []}', '{"choices": []}', "[DONE]"]
        self.cut_off = False
        self.login_status = 200
        self.logout_status = 204
        self.models = [
            {"id": "embed-1", "name": "Embed", "kind": "embedding"},
            {"id": "chat-1", "name": "Chat", "kind": "chat"},
            {"id": "chat-2", "name": "Chat", "kind": "chat"},
        ]
        self.metrics = (200, METRICS)
        self.caching = "public, max-age=300, s-maxage=60"
        self.webhook_status = 200
        self.profile_seconds = 0.0
        # Of answers that nobody has given before, and how many of them fail.
        self.answer_seconds = 0.0
        self.failing = set()
        self.began = time.monotonic()
        self.asked = []
        self.logins = []
        self.posts = []
        self.paths = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        if not isinstance(body, bytes):
            body = body.encode() if isinstance(body, str) else json.dumps(body, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        fake = self.server.fake
        fake.paths.append(self.path)
        match self.path:
            case "/api/health?probe=liveness":
                self.answer(*fake.liveness)
            case "/api/ready" if time.monotonic() - fake.began < fake.ready_after:
                self.answer(503, {"status": "not_ready", "pending": ["database_migrations"], "checks": {}})
            case "/api/ready":
                self.answer(200, {"status": "ready", "pending": [], "checks": {"application_started": True}})
            case "/api/health":
                checks = {name: {"status": status, "latency_ms": 1.5} for name, status in fake.checks.items()}
                status = 503 if fake.health == "fail" else 200
                self.answer(status, {"status": fake.health, "checks": checks})
            case "/api/openapi.json":
                self.answer(200, {"openapi": "3.1.0"}, [("Cache-Control", fake.caching)])
            case "/api/models":
                self.answer(200, {"data": fake.models})
            case "/metrics":
                self.answer(*fake.metrics)
            case "/api/users/me":
                time.sleep(fake.profile_seconds)
                self.answer(200 if self.headers.get("Authorization") == f"Bearer {TOKEN}" else 401, {"id": "1"})
            case _:
                self.answer(404)

    def do_POST(self):
        fake = self.server.fake
        fake.paths.append(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/hook":
            fake.posts.append(json.loads(text))
            return self.answer(fake.webhook_status)
        if self.path == "/api/auth/login":
            fake.logins.append(json.loads(text))
            body = {"user": {"id": "1"}, "access_token": TOKEN, "refresh_token": "r", "token_type": "Bearer"}
            return self.answer(fake.login_status, body if fake.login_status == 200 else {"title": "wrong"})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"title": "who are you"})
        if self.path == "/api/auth/logout":
            return self.answer(fake.logout_status)
        question = json.loads(text)
        fake.asked.append(question)
        # Repeatable questions are temperate; what is hot is asked once.
        if "temperature" not in question:
            time.sleep(fake.answer_seconds)
            if len(fake.asked) in fake.failing:
                return self.answer(503, {"error": {"message": "overloaded"}})
        if fake.chat_status != 200:
            return self.answer(fake.chat_status, {"error": {"message": "the model is away"}})
        if question["stream"]:
            return self.stream(fake)
        number = len([asked for asked in fake.asked if not asked["stream"]]) - 1
        cache = fake.cache[min(number, len(fake.cache) - 1)]
        headers = [("X-Maple-Cache", cache)] if cache else []
        return self.answer(200, {"choices": [{"message": {"content": "Hello"}}]}, headers)

    def stream(self, fake):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in fake.events:
            data = f"data: {event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if fake.cut_off:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def fake():
    return Fake()


@contextlib.contextmanager
def serving(fake, host):
    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    server.fake = fake
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def address(fake):
    with serving(fake, "127.0.0.1") as address:
        yield address


def run(script, *arguments, **environment):
    settings = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        ["bash", str(ROOT / script), *arguments],
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def check(*arguments, **environment):
    settings = {"MAPLE_BINARY": BINARY, "SMOKE_EMAIL": EMAIL, "SMOKE_PASSWORD": PASSWORD, "HEALTH_CHECK_TIMEOUT": "1", **environment}
    return run("scripts/health-check.sh", *arguments, **settings)


def steps(result, word):
    return re.findall(rf"^{word} +([a-z ]+?)(?: \(|:)", result.stdout, re.MULTILINE)


def failures(result):
    assert result.returncode == 1, result.stdout
    return steps(result, "FAIL")


ALL = ["liveness", "readiness", "health", "caching", "sign in", "models", "answer", "answer from the cache", "stream", "sign out", "metrics"]


class TestHealthCheck:
    def test_a_good_one_passes(self, fake, address):
        result = check(address + "/")
        assert result.returncode == 0, result.stdout
        assert steps(result, "ok") == ALL
        assert fake.logins == [{"email": EMAIL, "password": PASSWORD}]
        assert [asked["model"] for asked in fake.asked] == ["chat-1"] * 3
        assert [asked["stream"] for asked in fake.asked] == [False, False, True]
        assert fake.asked[0] == fake.asked[1]
        assert all(asked["temperature"] == 0 and asked["max_tokens"] <= 32 for asked in fake.asked)
        assert fake.paths.index("/api/auth/logout") > fake.paths.index("/v1/chat/completions")

    def test_every_check_asks_something_new(self, fake, address):
        check(address)
        check(address)
        assert len({asked["messages"][0]["content"] for asked in fake.asked}) == 4

    def test_prints_no_secrets(self, address):
        result = check(address)
        assert TOKEN not in result.stdout
        assert "secret" not in result.stdout

    def test_by_the_image_that_was_deployed(self, tmp_path):
        """As in the pipeline: nothing is built, and what is secret is in no argument."""
        docker = tmp_path / "docker"
        docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 1\n')
        docker.chmod(0o755)
        image = f"registry.example/mapleai@sha256:{'1' * 64}"
        result = check("http://a", "http://b", MAPLE_BINARY="", IMAGE=image, PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert result.returncode == 1
        assert result.stdout.endswith(f"{image}\nsmoke\nhttp://a\nhttp://b\n")
        assert "--env\nSMOKE_PASSWORD\n" in result.stdout and "secret" not in result.stdout

    def test_by_the_one_on_the_path(self, tmp_path):
        (tmp_path / "mapleai").symlink_to(BINARY)
        result = check("http://127.0.0.1:9", MAPLE_BINARY="", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert failures(result) == ["liveness"]

    def test_there_is_no_account_that_everybody_knows(self, fake, address):
        result = check(address, SMOKE_EMAIL="", SMOKE_PASSWORD="")
        assert failures(result) == ["sign in"]
        assert "SMOKE_EMAIL and SMOKE_PASSWORD" in result.stdout
        assert fake.logins == []

    def test_what_is_for_everybody_may_be_kept(self, fake, address):
        fake.caching = "no-store"
        assert failures(check(address)) == ["caching"]

    def test_smoke_model_is_asked(self, fake, address):
        assert check(address, SMOKE_MODEL="chat-2").returncode == 0
        assert {asked["model"] for asked in fake.asked} == {"chat-2"}

    def test_waits_until_it_is_ready(self, fake, address):
        fake.ready_after = 3
        result = check(address, HEALTH_CHECK_TIMEOUT="20")
        assert result.returncode == 0, result.stdout
        assert "database_migrations" in result.stdout

    def test_not_ready(self, fake, address):
        fake.ready_after = 1000
        result = check(address, HEALTH_CHECK_TIMEOUT="3")
        assert failures(result) == ["readiness"]
        assert re.search("FAIL readiness: .*within 3 s.*503.*database_migrations", result.stdout)

    def test_not_alive(self, fake, address):
        fake.liveness = (503, {"status": "fail"})
        assert failures(check(address)) == ["liveness"]

    def test_nobody_there(self):
        result = check("http://127.0.0.1:9", "http://127.0.0.1:9")
        assert failures(result) == ["liveness", "metrics"]

    def test_something_else_answers_and_is_told_no_password(self, fake, address):
        fake.liveness = (200, "<html>It works!</html>")
        assert "liveness" in failures(check(address))
        assert fake.logins == []

    def test_failing_health_names_the_checks(self, fake, address):
        fake.health = "fail"
        fake.checks["database_connection"] = "fail"
        fake.checks["redis_connection"] = "warn"
        result = check(address)
        assert failures(result) == ["health"]
        assert re.search("FAIL health: .*: database_connection$", result.stdout, re.MULTILINE)

    def test_a_warning_is_told_and_passes(self, fake, address):
        fake.health = "warn"
        fake.checks["redis_connection"] = "warn"
        result = check(address)
        assert result.returncode == 0, result.stdout
        assert "note health: warn: redis_connection\n" in result.stdout

    def test_wrong_password(self, fake, address):
        fake.login_status = 401
        result = check(address)
        assert failures(result) == ["sign in"]
        assert steps(result, "skip") == ["answers", "stream", "sign out"]
        assert "metrics" in steps(result, "ok")

    def test_no_account_away_from_localhost(self, fake):
        with serving(fake, "127.0.0.2") as address:
            result = check(address, SMOKE_EMAIL="", SMOKE_PASSWORD="")
        assert failures(result) == ["sign in"]
        assert "SMOKE_EMAIL and SMOKE_PASSWORD" in result.stdout
        assert fake.logins == []

    def test_half_an_account(self, fake, address):
        assert failures(check(address, SMOKE_PASSWORD="")) == ["sign in"]
        assert fake.logins == []

    def test_no_chat_model(self, fake, address):
        fake.models = fake.models[:1]
        assert failures(check(address)) == ["models"]

    def test_500_on_chat(self, fake, address):
        fake.chat_status = 500
        result = check(address)
        assert failures(result) == ["answer", "stream"]
        assert re.search("FAIL answer: expected 200, 500 came: .*the model is away", result.stdout)
        assert "sign out" in steps(result, "ok")

    def test_missing_cache_header(self, fake, address):
        fake.cache = [None]
        result = check(address)
        assert failures(result) == ["answer"]
        assert "X-Maple-Cache" in result.stdout

    def test_missed_twice(self, fake, address):
        fake.cache = ["miss"]
        result = check(address)
        assert failures(result) == ["answer from the cache"]
        assert "expected X-Maple-Cache: hit after a miss, miss came" in result.stdout

    def test_another_instance_hears_of_it_a_moment_later(self, fake, address):
        fake.cache = ["miss", "miss", "hit"]
        assert check(address).returncode == 0

    def test_bypass_is_told_and_passes(self, fake, address):
        fake.cache = ["bypass"]
        result = check(address)
        assert result.returncode == 0, result.stdout
        assert "note answer from the cache: bypass" in result.stdout

    @pytest.mark.parametrize("cut_off", [True, False])
    def test_stream_without_its_end(self, fake, address, cut_off):
        fake.events = fake.events[:-1]
        fake.cut_off = cut_off
        assert failures(check(address)) == ["stream"]

    def test_stream_of_nothing(self, fake, address):
        fake.events = ["[DONE]"]
        assert failures(check(address)) == ["stream"]

    def test_sign_out_fails(self, fake, address):
        fake.logout_status = 500
        assert failures(check(address)) == ["sign out"]

    def test_no_metrics_where_they_were_promised(self, fake, address):
        fake.metrics = (404, "")
        result = check(address, address)
        assert failures(result) == ["metrics"]
        assert "expected 200" in result.stdout

    def test_a_proxy_that_is_not_trusted_is_told_of(self, fake, address):
        for count, told in ((0, []), (3, ["proxies"])):
            fake.metrics = (200, METRICS + f"\nmaple_forwarded_for_ignored_total {count}\n")
            result = check(address, address)
            assert result.returncode == 0, result.stdout
            assert steps(result, "note") == told

    def test_no_metrics_where_none_were_promised(self, fake, address):
        fake.metrics = (404, "")
        result = check(address)
        assert result.returncode == 0, result.stdout
        assert steps(result, "skip") == ["metrics"]

    def test_a_metric_is_absent(self, fake, address):
        fake.metrics = (200, METRICS.splitlines()[0] + "\n# TYPE maple_completions_total counter\n")
        result = check(address)
        assert failures(result) == ["metrics"]
        assert "absent: maple_completions_total" in result.stdout

    @pytest.mark.parametrize(
        "arguments",
        [[], ["maple.example"], ["http://a", "b"], ["http://a", "http://b", "c"], ["http://user:word@a"], ["ftp://a"]],
    )
    def test_wrong_arguments(self, arguments):
        result = check(*arguments)
        assert result.returncode == 2, result.stdout
        assert result.stdout.startswith("error: ") and "--help" in result.stdout

    def test_wrong_timeout(self, address):
        assert check(address, HEALTH_CHECK_TIMEOUT="soon").returncode == 2


class TestNotify:
    MESSAGE = 'production: "v1.2" is\nout\t\\o/'

    def notify(self, *arguments, **environment):
        return checkout.run(ROOT, "notify", *arguments, **environment)

    def test_posts_the_text(self, fake, address):
        result = self.notify(self.MESSAGE, NOTIFY_WEBHOOK_URL=f"{address}/hook")
        assert result.returncode == 0, result.stdout
        assert fake.posts == [{"text": self.MESSAGE}]
        assert address not in result.stdout

    def test_prints_it_without_a_webhook(self):
        """And says by its status that nobody was told."""
        result = self.notify(self.MESSAGE)
        assert result.returncode == 3
        assert f"notification to nobody (NOTIFY_WEBHOOK_URL is not set): {self.MESSAGE}" in result.stdout

    def test_a_refusal_is_a_failure(self, fake, address):
        fake.webhook_status = 500
        result = self.notify("out", NOTIFY_WEBHOOK_URL=f"{address}/hook")
        assert result.returncode == 1
        assert "answered 500" in result.stdout

    @pytest.mark.parametrize("webhook", ["http://127.0.0.1:9/hook", "not an address", 'http://a/"\noutput = "/tmp/x'])
    def test_no_way_to_it_is_a_failure(self, webhook):
        result = self.notify("out", NOTIFY_WEBHOOK_URL=webhook)
        assert result.returncode == 1
        assert "notification failed" in result.stdout

    @pytest.mark.parametrize("arguments", [[], [""], ["a", "b"]])
    def test_wrong_arguments(self, arguments):
        assert self.notify(*arguments).returncode == 2
