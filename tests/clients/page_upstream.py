"""A model server for the page's tests: it does what the question tells it to.

`python3 page_upstream.py PORT` serves the models `told` and `told-too` until it is ended. A question that holds
`[[told:...]]`, which `told()` makes, is answered as written there; anything else with a short sentence. Who asks for a whole answer
wants a title, and gets `TITLE`.
"""

import base64
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODELS = ["told", "told-too"]
TITLE = "Words of a Model"


def told(**script):
    """A directive for a question. Either `status` and `error`, with `headers`; or `pieces` of an answer with `pause` seconds
    after each, then `finish` after `hold` seconds, or `cut` for a connection that ends in the middle. Before them, with the same
    pauses, a comment for each number of `reading` but the last, so many tokens of the last are read."""
    return f"[[told:{base64.b64encode(json.dumps(script).encode()).decode()}]]"


def script_of(body):
    for message in reversed(body.get("messages", [])):
        if message["role"] == "user":
            found = re.findall(r"\[\[told:([A-Za-z0-9+/=]+)\]\]", str(message["content"]))
            return json.loads(base64.b64decode(found[-1])) if found else {}
    return {}


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, body, headers=()):
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in [("Content-Type", "application/json"), ("Content-Length", len(content)), *headers]:
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        # What it is known by where `make run` looks for it.
        if self.path == "/":
            self.send_response(200)
            self.send_header("Content-Length", "17")
            self.end_headers()
            return self.wfile.write(b"Ollama is running")
        if self.path == "/api/tags":
            return self.send(200, {"models": [{"name": name} for name in MODELS]})
        return self.send(200, {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "tests"} for name in MODELS]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not body.get("stream"):
            message = {"role": "assistant", "content": f'"{TITLE}."'}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return self.send(200, {"id": "t", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]})
        script = script_of(body)
        if "status" in script:
            return self.send(script["status"], {"error": script["error"]}, script.get("headers", {}).items())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        if script.get("cut"):
            # More than will come, so that its end is a broken one.
            self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True

        def event(delta, finish=None):
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        try:
            event({"role": "assistant", "content": ""})
            reading = script.get("reading", [])
            for read in reading[:-1]:
                self.wfile.write(f": {read} of {reading[-1]} tokens of the prompt are read\n\n".encode())
                self.wfile.flush()
                time.sleep(script.get("pause", 0))
            for piece in script.get("pieces", ["This is what I was told."]):
                event({"content": piece})
                time.sleep(script.get("pause", 0))
            if script.get("cut"):
                return None
            # In short waits, so that a reader who leaves is noticed.
            for _ in range(script.get("hold", 0) * 10):
                time.sleep(0.1)
                self.wfile.write(b": on hold\n\n")
            event({}, script.get("finish", "stop"))
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            # The reader went away, which is what some tests are about.
            pass
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Upstream).serve_forever()
