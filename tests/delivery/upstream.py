#!/usr/bin/env python3
"""An upstream that speaks the OpenAI API, with faults on request: what a version under test is given instead of a provider.

upstream.py --port PORT [--latency SECONDS] [--error-rate SHARE] [--break-rate SHARE]
"""

import argparse
import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "maple-rehearsal"
WORDS = ["Maple", " leaves", " turn", " red", " in", " autumn."]


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.whole(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Not all alike, as real ones are not: within a quarter of what was asked for.
        time.sleep(self.faults.latency * random.uniform(0.85, 1.1))
        if random.random() < self.faults.error_rate:
            return self.whole(500, {"error": {"message": "on purpose", "type": "server_error"}})
        if body.get("stream"):
            # After a status of 200 went out: no error rate shows it, only the completions do.
            return self.stream(breaks=random.random() < self.faults.break_rate)
        usage = {"prompt_tokens": 9, "completion_tokens": len(WORDS), "total_tokens": 9 + len(WORDS)}
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self.whole(200, {"id": "c-1", "object": "chat.completion", "model": MODEL, "choices": [choice], "usage": usage})

    def whole(self, status, answer):
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def stream(self, breaks):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, word in enumerate(WORDS):
            if breaks and number == 3:
                self.close_connection = True
                self.connection.close()
                return
            self.event({"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]})
            time.sleep(0.005)
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, part):
        part = {"id": "c-1", "object": "chat.completion.chunk", "model": MODEL, **part}
        self.chunk(b"data: " + json.dumps(part).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """Connections that were broken off, by us or by the other side, are what this is for."""


def serve(port, latency=0.08, error_rate=0.0, break_rate=0.0):
    """Serves in a thread of its own; the server, to be shut down."""
    faults = argparse.Namespace(latency=latency, error_rate=error_rate, break_rate=break_rate)
    handler = type("Handler", (Upstream,), {"faults": faults})
    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency", type=float, default=0.08)
    parser.add_argument("--error-rate", type=float, default=0.0)
    parser.add_argument("--break-rate", type=float, default=0.0)
    given = parser.parse_args()
    serve(**vars(given))
    threading.Event().wait()
