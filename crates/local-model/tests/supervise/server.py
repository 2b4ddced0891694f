"""In the place of `local-model serve`: listens as that does, and fails as the name of the model says."""

import http.server
import json
import os
import sys
import threading
import time

mode = os.path.basename(sys.argv[3]).removesuffix(".gguf")
key = os.environ["LOCAL_MODEL_KEY"]
folder = os.path.dirname(sys.argv[3])
with open(os.path.join(folder, "starts"), "a") as starts:
    starts.write(f"{os.getpid()} {key}\n")


def unhealthy():
    return mode == "slow" and not os.path.exists(os.path.join(folder, "healthy"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers.get("Authorization") != f"Bearer {key}":
            self.send_response(401)
        elif self.path == "/die":
            os._exit(9)
        else:
            self.send_response(503 if unhealthy() else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


if mode == "unfit":
    print("reading the file", file=sys.stderr)
    print("the processor has no AVX2, which this build needs.", file=sys.stderr)
    sys.exit(3)
if mode == "crash":
    print("out of luck", file=sys.stderr)
    sys.exit(101)
if mode == "mute":
    time.sleep(600)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
about = {"port": server.server_port, "model": "smollm2-135m", "name": "SmolLM2 135M", "threads": 1, "context": 4096}
print(json.dumps(about), flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
if mode == "stubborn":
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
sys.stdin.read()
