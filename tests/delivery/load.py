"""An open load: requests leave when their time has come, whatever became of those before. Every answer is judged whole."""

import http.client
import json
import queue
import threading
import time

from upstream import MODEL

PATIENCE = 30


def calls_a_model(number):
    return number % 6 != 5


class Load:
    """`rate` requests a second to 127.0.0.1:`port`, a third of them streams, some reads among them."""

    def __init__(self, port, key, rate=80, workers=64, new_connections=False):
        self.port, self.key, self.rate = port, key, rate
        # A connection for each request, as many callers do, so that a balancer decides anew each time.
        self.new_connections = new_connections
        self.results = []
        # The numbers of calls of a model that were answered whole: each is in the report of usage.
        self.answered = []
        self.due = queue.Queue()
        self.stopping = threading.Event()
        self.paused = threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        self.threads.append(threading.Thread(target=self.clock, daemon=True))

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping.set()
        for _ in self.threads:
            self.due.put(None)
        for thread in self.threads:
            thread.join(PATIENCE + 5)

    def clock(self):
        number = 0
        following = time.monotonic()
        while not self.stopping.is_set():
            if not self.paused.is_set():
                self.due.put(number)
                number += 1
            following += 1 / self.rate
            time.sleep(max(0, following - time.monotonic()))

    def work(self):
        connection = None
        while (number := self.due.get()) is not None:
            if connection is None or self.new_connections:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            began = time.monotonic()
            try:
                problem, server = self.ask(connection, number)
            except (OSError, http.client.HTTPException) as error:
                problem, server = f"{type(error).__name__}: {error}", None
            if problem or self.new_connections:
                connection.close()
                connection = None
            ended = time.monotonic()
            if not problem and calls_a_model(number):
                self.answered.append(number)
            self.results.append((began - self.began, ended - began, problem, server))

    def ask(self, connection, number):
        """What was wrong with the answer, if anything, and which server it came from, where the balancer says so."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if not calls_a_model(number):
            connection.request("GET", "/v1/models", headers=headers)
            response = connection.getresponse()
            response.read()
            return (None if response.status == 200 else f"status {response.status}"), response.headers.get("X-Server")
        stream = number % 3 == 0
        body = {"model": MODEL, "messages": [{"role": "user", "content": f"Say something, {number}"}], "stream": stream}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.read()
        server = response.headers.get("X-Server")
        if response.status != 200:
            return f"status {response.status}", server
        if stream:
            return (None if answer.endswith(b"data: [DONE]\n\n") and b'"error"' not in answer else "broken stream"), server
        return (None if json.loads(answer)["choices"][0]["finish_reason"] == "stop" else "no answer"), server

    def failed(self):
        return [result for result in self.results if result[2]]
