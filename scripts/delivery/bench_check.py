"""A bounded open load on a deployed MapleAI, and whether its times and errors are within bounds: see bench-check.sh.

Needs nothing but Python's standard library, so that it runs wherever a pipeline does. Exits with 0 if every bound holds, 1 if
one does not or nothing could be measured, 2 for wrong settings.
"""

import http.client
import json
import math
import os
import queue
import sys
import threading
import time
import urllib.parse

NAMES = ["RATE", "REQUESTS", "MAX_TOKENS", "ANSWER_P95_SECONDS", "ERROR_SHARE", "CACHED_READS", "CACHED_READ_P95_SECONDS"]
# For one request, and for all of the load beyond its own length.
PATIENCE = 30


class Wrong(Exception):
    """What whoever runs this can put right."""


class Failed(Exception):
    """What stands in the way of measuring."""


def read_bounds(path):
    bounds = {}
    with open(path) as file:
        for line in file:
            name, _, value = line.split("#")[0].strip().partition("=")
            if not name:
                continue
            if name not in NAMES:
                raise Wrong(f"{path} has {name}, which is not known; known are {', '.join(NAMES)}")
            try:
                bounds[name] = float(value)
            except ValueError:
                bounds[name] = math.nan
            if not 0 <= bounds[name] < 10_000 or (bounds[name] == 0 and name != "ERROR_SHARE"):
                raise Wrong(f"{path}: {name} must be a number above 0 and below 10000, not '{value}'")
    if missing := [name for name in NAMES if name not in bounds]:
        raise Wrong(f"{path} lacks {', '.join(missing)}")
    return bounds


class Service:
    """What runs at an address. Connections stay open and are used again, as callers do."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        self.host, self.path = parts.netloc, parts.path.rstrip("/")
        self.kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.idle = queue.LifoQueue()
        self.token = None

    def call(self, method, path, body=None):
        """The status, the header that tells of the cache, and the body."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection = self.idle.get_nowait()
        except queue.Empty:
            connection = self.kind(self.host, timeout=PATIENCE)
        try:
            connection.request(method, self.path + path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            text = response.read()
        except BaseException:
            connection.close()
            raise
        self.idle.put(connection)
        return response.status, response.headers.get("X-Maple-Cache", ""), text

    def expect(self, what, status, method, path, body=None):
        try:
            came, _, text = self.call(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{what}: no whole answer came: {error or type(error).__name__}") from error
        if came != status:
            raise Failed(f"{what}: expected {status}, {came} came")
        return text

    def sign_in(self, email, password):
        text = self.expect("sign in", 200, "POST", "/api/auth/login", {"email": email, "password": password})
        self.token = json.loads(text)["access_token"]

    def choose_model(self, wanted):
        models = json.loads(self.expect("models", 200, "GET", "/api/models"))["data"]
        chat = [model["id"] for model in models if model["kind"] == "chat"]
        if not chat:
            raise Failed("models: expected a chat model on offer, none came")
        if wanted and wanted not in chat:
            raise Wrong(f"BENCH_MODEL must be one of {', '.join(chat)}, not '{wanted}'")
        return wanted or chat[0]

    def ask(self, question):
        """What the cache had to do with it; raises Failed if no whole answer came."""
        status, cache, text = self.call("POST", "/v1/chat/completions", question)
        if status != 200:
            raise Failed(f"status {status}")
        if question["stream"]:
            if not text.endswith(b"data: [DONE]\n\n") or b'"error"' in text:
                raise Failed("a stream without its end")
        elif not json.loads(text).get("choices"):
            raise Failed("an answer without choices")
        return cache


def percentile(times, share):
    """The nearest rank: one of the times themselves."""
    ordered = sorted(times)
    return ordered[math.ceil(share * len(ordered)) - 1]


def question(model, bounds, text, stream=False, **more):
    messages = [{"role": "user", "content": text}]
    return {"model": model, "messages": messages, "max_tokens": int(bounds["MAX_TOKENS"]), "stream": stream, **more}


def load(service, model, bounds):
    """Every question leaves when its time has come, whatever became of those before; a third are streams, none was asked before."""
    run, times, problems = time.time_ns(), [], []

    def one(number, due):
        time.sleep(max(0, due - time.monotonic()))
        try:
            service.ask(question(model, bounds, f"Name a tree. This is question {number} of run {run}.", stream=number % 3 == 0))
            times.append(time.monotonic() - due)
        except (OSError, ValueError, http.client.HTTPException, Failed) as error:
            problems.append(str(error) or type(error).__name__)

    count, began = int(bounds["REQUESTS"]), time.monotonic() + 0.1
    threads = [threading.Thread(target=one, args=(number, began + number / bounds["RATE"]), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    limit = began + count / bounds["RATE"] + PATIENCE
    for thread in threads:
        thread.join(max(0, limit - time.monotonic()))
    problems += ["no answer in time"] * sum(thread.is_alive() for thread in threads)
    return times, problems


def timed(read):
    began = time.monotonic()
    found = read()
    return time.monotonic() - began, found


def cached_reads(service, model, bounds):
    """Times of answers that came from the cache, how many were asked for, and times of the caller's profile."""
    count = int(bounds["CACHED_READS"])
    same = question(model, bounds, f"Name a tree. This is question 0 of run {time.time_ns()}.", temperature=0)
    try:
        first = service.ask(same)
        answers = [timed(lambda: service.ask(same)) for _ in range(count)] if first != "bypass" else []
    except (OSError, ValueError, http.client.HTTPException, Failed) as error:
        raise Failed(f"answers from the cache: {error or type(error).__name__}") from error
    profiles = [timed(lambda: service.expect("profile", 200, "GET", "/api/users/me"))[0] for _ in range(count)]
    return [took for took, cache in answers if cache == "hit"], len(answers), profiles


def judge_reads(service, model, bounds):
    hits, looks, profiles = cached_reads(service, model, bounds)
    bound = bounds["CACHED_READ_P95_SECONDS"]
    rows = [("profile from the cache, p95 in s", percentile(profiles, 0.95), bound)]
    if not looks:
        print(f"note: answers of {model} are not remembered")
    elif len(hits) < looks / 2:
        # Not all: another instance may have to hear of the answer first.
        raise Failed(f"answers from the cache: {len(hits)} of {looks} were, expected at least half")
    else:
        rows.append(("answer from the cache, p95 in s", percentile(hits, 0.95), bound))
    return rows


def check(url, bounds, email, password, wanted):
    service = Service(url)
    service.sign_in(email, password)
    model = service.choose_model(wanted)
    asked = int(bounds["REQUESTS"] + 1)
    print(f"{model} is asked {asked} times for at most {int(bounds['MAX_TOKENS'])} tokens each: this costs up to "
          f"{asked * int(bounds['MAX_TOKENS'])} tokens of answers", flush=True)
    # First, on its own: it costs one question, and needs no others to wait for.
    rows = judge_reads(service, model, bounds)
    times, problems = load(service, model, bounds)
    service.expect("sign out", 204, "POST", "/api/auth/logout")
    for problem in sorted(set(problems)):
        print(f"failed: {problems.count(problem)} x {problem}")
    rows.append(("answers, p95 in s", percentile(times, 0.95) if times else math.inf, bounds["ANSWER_P95_SECONDS"]))
    rows.append(("answers that failed, share", len(problems) / int(bounds["REQUESTS"]), bounds["ERROR_SHARE"]))
    print(f"{'':<34}{'measured':>12}{'at most':>12}")
    for what, measured, bound in rows:
        print(f"{what:<34}{measured:>12.3f}{bound:>12.3f}  {'ok' if measured <= bound else 'FAIL'}")
    if outside := [what for what, measured, bound in rows if measured > bound]:
        raise Failed(f"{url} is outside its bounds: {'; '.join(outside)}")
    print(f"{url} is within its bounds")


def account():
    # Not for whatever this might start.
    email, password = os.environ.pop("SMOKE_EMAIL", ""), os.environ.pop("SMOKE_PASSWORD", "")
    if not email or not password:
        raise Wrong("SMOKE_EMAIL and SMOKE_PASSWORD must be set: the account to sign in with")
    return email, password


if __name__ == "__main__":
    try:
        check(sys.argv[1], read_bounds(sys.argv[2]), *account(), os.environ.get("BENCH_MODEL", ""))
    except (Failed, Wrong) as told:
        print(f"error: {told}", file=sys.stderr)
        sys.exit(2 if isinstance(told, Wrong) else 1)
    except (ValueError, KeyError, TypeError) as error:
        print(f"error: what answers there does not answer as MapleAI does: {type(error).__name__} {error}", file=sys.stderr)
        sys.exit(1)
