"""The small tasks of delivery (xtask/), each in a checkout of its own: pin, evidence, shown, previous, checklist, measure."""

import contextlib
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import urllib.parse

import pytest

import checkout
import service
from checkout import run

DIGEST = "0123456789abcdef" * 4
IMAGE = f"ghcr.io/maple/app@sha256:{DIGEST}"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return checkout.make(tmp_path_factory.mktemp("scripts") / "checkout")


@pytest.fixture
def folder(made):
    yield made
    checkout.git(made, "reset", "--quiet", "--hard")
    checkout.git(made, "clean", "--quiet", "--force", "-dx")


def says(done, *texts, status=1):
    assert done.returncode == status, done.stdout
    for text in texts:
        assert text in done.stdout, f"{text!r} is not in: {done.stdout}"


def evidence(folder, item):
    file = folder / ".local/evidence" / checkout.git(folder, "rev-parse", "HEAD") / f"{item}.json"
    return json.loads(file.read_text()) if file.exists() else None


def test_the_number_of_words(folder):
    for task, usage in [("pin", "<ENVIRONMENT> <IMAGE>"), ("evidence", "<ITEM> <OUTCOME> <BY> [DETAIL]"), ("measure", "<ENVIRONMENT>")]:
        says(run(folder, task), f"Usage: cargo xtask {task} {usage}", status=2)
    assert not (folder / ".local").exists()


class TestPin:
    def test_writes_the_image_and_the_migration(self, folder):
        says(run(folder, "pin", "production", IMAGE), "ghcr.io/maple/app@sha256:0123456789ab...", status=0)
        rendered = subprocess.run(["kubectl", "kustomize", folder / "k8s/production"], capture_output=True, text=True, check=True).stdout
        assert rendered.count(f"image: {IMAGE}\n") == 2
        assert "name: mapleai-migrate-0123456789ab\n" in rendered
        assert checkout.git(folder, "status", "--porcelain") == "M k8s/production/kustomization.yaml"

    def test_twice(self, folder):
        run(folder, "pin", "staging", IMAGE)
        says(run(folder, "pin", "staging", f"other/app@sha256:{'f' * 64}"), status=0)
        text = (folder / "k8s/staging/kustomization.yaml").read_text()
        assert "newName: other/app\n" in text and "mapleai-migrate-ffffffffffff" in text and DIGEST[:12] not in text

    @pytest.mark.parametrize(
        "arguments, told",
        [
            (["base", IMAGE], "there is no environment 'base'; there are staging and production"),
            (["staging", "app:latest"], "'app:latest' is no image by digest, such as registry.example/mapleai@sha256:<64 digits>"),
            (["staging", f"app@sha256:{'0' * 64}"], "is the placeholder of the repository, not an image"),
        ],
    )
    def test_what_is_refused(self, folder, arguments, told):
        says(run(folder, "pin", *arguments), told)
        assert checkout.git(folder, "status", "--porcelain") == ""

    @pytest.mark.parametrize("line, told", [("digest:", "names no image"), ("value: mapleai-migrate-", "names no migration")])
    def test_manifests_without_a_place_for_it(self, folder, line, told):
        file = folder / "k8s/staging/kustomization.yaml"
        file.write_text("\n".join(text for text in file.read_text().splitlines() if line not in text))
        says(run(folder, "pin", "staging", IMAGE), f"{file} {told}")


class TestEvidence:
    def test_what_is_written(self, folder):
        says(run(folder, "evidence", "approval", "passed", 'Ada "the first" \\ L.', "line\nbreak"), "evidence of 'approval' (passed)", status=0)
        found = evidence(folder, "approval")
        assert found.pop("at").endswith("Z")
        commit = checkout.git(folder, "rev-parse", "HEAD")
        by = 'Ada "the first" \\ L.'
        assert found == {"item": "approval", "commit": commit, "outcome": "passed", "by": by, "detail": "linebreak"}

    def test_of_changes_that_are_in_no_commit_only_people_can_speak(self, folder):
        (folder / "Makefile").write_text("")
        says(run(folder, "evidence", "tests", "passed", "make test"), "No evidence of 'tests' was written", status=0)
        assert evidence(folder, "tests") is None
        says(run(folder, "evidence", "approval", "passed", "Ada"), status=0)

    @pytest.mark.parametrize(
        "arguments, told",
        [
            (["../tests", "passed", "Ada"], "ITEM is of lower-case letters and '-', such as approval; not '../tests'"),
            (["tests", "ok", "Ada"], "the outcome is 'passed' or 'failed', not 'ok'"),
            (["tests", "passed", "  "], "BY must say who or what showed it"),
        ],
    )
    def test_what_is_refused(self, folder, arguments, told):
        says(run(folder, "evidence", *arguments), told)
        assert not (folder / ".local").exists()


class TestShown:
    @pytest.mark.parametrize("status, outcome", [(0, "passed"), (1, "failed"), (42, "failed")])
    def test_the_outcome_is_kept_and_the_status_goes_on(self, folder, status, outcome):
        says(run(folder, "shown", "scan", "make scan", "bash", "-c", f"echo looking; exit {status}"), "looking", status=status)
        found = evidence(folder, "scan")
        assert (found["outcome"], found["by"], found["detail"]) == (outcome, "make scan", f"status {status}")

    def test_a_failure_takes_the_place_of_what_was_shown_before(self, folder):
        run(folder, "shown", "scan", "make scan", "true")
        run(folder, "shown", "scan", "make scan", "false")
        assert evidence(folder, "scan")["outcome"] == "failed"

    def test_what_shows_nothing(self, folder):
        says(run(folder, "shown", "notification", "make notify", "bash", "-c", "exit 3"), "nothing was shown", status=0)
        assert evidence(folder, "notification") is None

    def test_notify_without_anybody_to_tell(self, folder):
        done = run(folder, "shown", "notification", "make notify", checkout.XTASK, "notify", "out")
        says(done, "notification to nobody (NOTIFY_WEBHOOK_URL is not set): out", status=0)
        assert evidence(folder, "notification") is None

    @pytest.mark.parametrize("change", ["echo >>Makefile", "git -c user.name=A -c user.email=a@b commit -q --allow-empty -m x"])
    def test_a_checkout_that_changed_meanwhile(self, folder, change):
        says(run(folder, "shown", "tests", "make test", "bash", "-c", change), "the checkout changed meanwhile", status=0)
        assert evidence(folder, "tests") is None

    def test_without_git(self, folder, tmp_path):
        """As in an unpacked archive: the tests run there, too."""
        done = run(tmp_path, "shown", "tests", "make test", "bash", "-c", "echo looking; exit 7")
        says(done, "looking", "No evidence of 'tests' was written: this is no git checkout", status=7)

    def test_too_few_words(self, folder):
        says(run(folder, "shown", "tests", "make test"), "Usage: cargo xtask shown <ITEM> <BY> <COMMAND>...", status=2)


class TestPrevious:
    """Which commit the previous release is; building it is for `make compatibility`."""

    @pytest.fixture
    def history(self, tmp_path):
        folder = checkout.make(tmp_path / "checkout")
        before = checkout.git(folder, "rev-parse", "HEAD")
        (folder / "migrations/99999999999999_new.up.sql").write_text("SELECT 1;\n")
        checkout.commit(folder, "A migration")
        (folder / "README.md").write_text("x")
        checkout.commit(folder, "Something else")
        return folder, before

    def previous(self, folder, commit, cache, **environment):
        binary = cache / "releases" / commit / "mapleai"
        binary.parent.mkdir(parents=True)
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        done = run(folder, "previous", MAPLE_CACHE=str(cache), **environment)
        says(done, f"{commit} {binary}", status=0)

    def test_without_a_tag_the_commit_before_the_newest_migration(self, history, tmp_path):
        self.previous(*history, tmp_path / "cache")

    def test_a_commit_that_numbered_its_migrations_otherwise_was_no_release(self, history, tmp_path):
        folder, before = history
        (folder / "migrations/99999999999999_new.up.sql").rename(folder / "migrations/99999999999998_new.up.sql")
        checkout.commit(folder, "Numbers that follow one another")
        self.previous(folder, before, tmp_path / "cache")

    def test_the_one_that_is_named(self, history, tmp_path):
        folder, _ = history
        commit = checkout.git(folder, "rev-parse", "HEAD^")
        self.previous(folder, commit, tmp_path / "cache", MAPLE_PREVIOUS="HEAD^")
        says(run(folder, "previous", MAPLE_PREVIOUS="v9"), "there is no commit v9")

    def test_the_last_tag_before_this_commit(self, history, tmp_path):
        folder, _ = history
        checkout.git(folder, "tag", "v1.0.0", "HEAD^")
        checkout.git(folder, "tag", "v1.1.0", "HEAD")
        self.previous(folder, checkout.git(folder, "rev-parse", "HEAD^"), tmp_path / "cache")

    def test_a_migration_in_no_commit(self, history):
        folder, _ = history
        (folder / "migrations/99999999999999_new.up.sql").rename(folder / "migrations/99999999999999_renamed.up.sql")
        checkout.git(folder, "add", "--all")
        says(run(folder, "previous"), "migrations/99999999999999_renamed.up.sql is in no commit yet; commit it first")

    def test_no_commit_before(self, folder):
        says(run(folder, "previous"), "came with the first commit: there is no previous release")

    def test_a_history_that_is_cut_off(self, history, tmp_path):
        folder, _ = history
        checkout.git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{folder}", "shallow")
        says(run(tmp_path / "shallow", "previous"), "the history is cut off; fetch all of it (git fetch --unshallow)")


class TestChecklist:
    def test_by_the_binary_in_an_image(self, folder, tmp_path):
        docker = tmp_path / "docker"
        docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 5\n')
        docker.chmod(0o755)
        done = run(folder, "checklist", "pre", IMAGE, PATH=f"{tmp_path}:{os.environ['PATH']}")
        commit = checkout.git(folder, "rev-parse", "HEAD")
        says(done, f"{folder}:/checkout:ro", "\n".join([IMAGE, "checklist", "pre", "--directory", "/checkout", "--commit", commit]), status=5)

    @pytest.mark.parametrize(
        "arguments, told",
        [
            ([], "PHASE must be pre, during or post, not ''"),
            (["after"], "PHASE must be pre, during or post, not 'after'"),
            (["pre", "app:latest"], "'app:latest' is no image by digest"),
        ],
    )
    def test_what_is_refused(self, folder, arguments, told):
        says(run(folder, "checklist", *arguments), told)


class Prometheus(http.server.BaseHTTPRequestHandler):
    """Answers every query with what the test wants for it."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["query"][0]
        self.server.asked.append((query, self.headers.get("Authorization")))
        item = "business" if "completions" in query else "latency" if "quantile" in query else "error-rate"
        value = self.server.values[item]
        if isinstance(value, bytes):
            data = value
        else:
            result = [] if value is None else [{"metric": {}, "value": [1782864000.123, value]}]
            data = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}, separators=(",", ":")).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextlib.contextmanager
def prometheus():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Prometheus)
    server.daemon_threads = True
    server.asked, server.status = [], 200
    server.values = {"error-rate": "0.001", "latency": "0.4", "business": "0.999"}
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def measure(folder, server, environment="production", **more):
    return run(folder, "measure", environment, PROMETHEUS_URL=f"http://127.0.0.1:{server.server_address[1]}/", **more)


class TestMeasure:
    def test_within_its_bounds(self, folder):
        with prometheus() as server:
            done = measure(folder, server)
        says(done, "passed  share of errors: 0.001 (must be < 0.01)", status=0)
        for item in ("error-rate", "latency", "business"):
            assert (evidence(folder, item)["outcome"], evidence(folder, item)["by"]) == ("passed", "make measure")
        assert all('namespace="production"' in query and authorization is None for query, authorization in server.asked)

    @pytest.mark.parametrize(
        "item, value, shown",
        [
            ("error-rate", "0.01", "share of errors: 0.01 (must be < 0.01)"),
            ("error-rate", "NaN", "share of errors: NaN"),
            ("error-rate", None, "share of errors: no data"),
            ("latency", "2.6", "95th percentile: 2.6 (must be < 2.5)"),
            ("latency", "+Inf", "95th percentile: +Inf"),
            ("latency", "NaN", "95th percentile: NaN"),
            ("business", "9.5e-1", "came whole: 9.5e-1 (must be > 0.98)"),
            ("business", None, "came whole: no data"),
            ("business", b"<html>who are you</html>", "came whole: no data"),
        ],
    )
    def test_outside_of_one(self, folder, item, value, shown):
        with prometheus() as server:
            server.values[item] = value
            says(measure(folder, server), "failed  ", shown, "production is outside the bounds of a release, or could not be measured")
        outcomes = {name: evidence(folder, name)["outcome"] for name in server.values}
        assert outcomes == {name: "failed" if name == item else "passed" for name in server.values}

    def test_small_numbers_have_exponents(self, folder):
        with prometheus() as server:
            server.values["error-rate"] = "1.2e-05"
            says(measure(folder, server), "share of errors: 1.2e-05", status=0)

    def test_one_that_refuses(self, folder):
        with prometheus() as server:
            server.status = 503
            says(measure(folder, server), "no data", "503")

    def test_none_there(self, folder):
        says(run(folder, "measure", "production", PROMETHEUS_URL="http://127.0.0.1:9"), "no data")
        assert evidence(folder, "latency")["outcome"] == "failed"

    def test_a_token_is_in_no_argument(self, folder, tmp_path):
        log = tmp_path / "log"
        wrapper = tmp_path / "curl"
        wrapper.write_text(f"#!/bin/sh\n{{ printf '%s\\n' \"$@\"; env; }} >>'{log}'\nexec {shutil.which('curl')} \"$@\"\n")
        wrapper.chmod(0o755)
        with prometheus() as server:
            done = measure(folder, server, PROMETHEUS_TOKEN="s3cr3t-token", PATH=f"{tmp_path}:{os.environ['PATH']}")
        says(done, status=0)
        assert {authorization for _, authorization in server.asked} == {"Bearer s3cr3t-token"}
        assert "s3cr3t" not in log.read_text() + done.stdout

    @pytest.mark.parametrize(
        "environment, settings, told",
        [
            ("base", {}, "there is no environment 'base'; there are staging and production"),
            ("production", {"PROMETHEUS_URL": ""}, "PROMETHEUS_URL must be where Prometheus is"),
            ("production", {"PROMETHEUS_URL": "http://ada:word@prometheus"}, "without credentials"),
            ("production", {"PROMETHEUS_URL": "http://prometheus", "PROMETHEUS_TOKEN": 'a"\noutput = "x'}, "characters that no bearer token has"),
        ],
    )
    def test_what_is_refused(self, folder, environment, settings, told):
        done = run(folder, "measure", environment, **settings)
        says(done, told)
        assert "word@" not in done.stdout

    @pytest.mark.parametrize("rollout", [False, True], ids=["deployment", "rollout"])
    def test_against_a_real_prometheus(self, folder, tmp_path, rollout):
        """The very queries: on a quarter of an hour of a service with few errors, be it after one with many, and of one without traffic."""
        for program in ("prometheus", "promtool"):
            assert shutil.which(program), f"{program} is missing (scripts/dev/install.sh prometheus)"
        (tmp_path / "metrics").write_text("\n".join(quarter_of_an_hour(int(time.time()), rollout)) + "\n# EOF\n")
        subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "metrics", "tsdb"], cwd=tmp_path, check=True, capture_output=True)
        (tmp_path / "prometheus.yml").write_text("")
        port = service.free_port()
        command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{port}"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            service.wait_until("Prometheus", lambda: answers(port), limit=30)
            address = f"http://127.0.0.1:{port}"
            good = run(folder, "measure", "production", PROMETHEUS_URL=address)
            says(good, "share of errors: 0.005", "95th percentile: 0.37", "came whole: 0.99", status=0)
            idle = run(folder, "measure", "staging", PROMETHEUS_URL=address)
            says(idle, "share of errors: no data", "95th percentile: no data", "came whole: no data")
        finally:
            process.terminate()
            process.wait(20)


def answers(port):
    try:
        return service.call(port, "GET", "/-/ready")[0] == 200
    except OSError:
        return False


def quarter_of_an_hour(now, rollout):
    """Counters every 15 seconds: 200 requests in between, one of them answered 500; 99 of 100 completions came whole. After a
    rollout they are the new version's; the old one was ten times worse until it had no traffic any more, seven minutes ago."""
    production, version = 'namespace="production"', ',rollouts_pod_template_hash='
    versions = [(production, 1, 80)]
    if rollout:
        versions = [(f'{production}{version}"new"', 1, 80), (f'{production}{version}"old"', 10, 52)]
    for labels, worse, until in versions:
        for name, step in counters(labels, worse):
            for tick in range(80):
                yield f"{name} {min(tick, until) * step} {now - (79 - tick) * 15}"


def counters(labels, worse):
    route = f'{labels},http_route="/v1/chat/completions"'
    return [
        (f'http_server_request_duration_seconds_count{{{route},http_response_status_code="200"}}', 200 - worse),
        (f'http_server_request_duration_seconds_count{{{route},http_response_status_code="500"}}', worse),
        (f'http_server_request_duration_seconds_count{{{labels},http_route="/metrics",http_response_status_code="500"}}', 200),
        (f'http_server_request_duration_seconds_bucket{{{route},http_response_status_code="200",le="0.25"}}', 200 - 20 * worse),
        (f'http_server_request_duration_seconds_bucket{{{route},http_response_status_code="200",le="0.5"}}', 200),
        (f'http_server_request_duration_seconds_bucket{{{route},http_response_status_code="200",le="+Inf"}}', 200),
        (f'maple_completions_total{{{labels},outcome="completed"}}', 100 - worse),
        (f'maple_completions_total{{{labels},outcome="failed"}}', worse),
        (f'maple_completions_total{{{labels},outcome="cancelled"}}', 40),
    ]
