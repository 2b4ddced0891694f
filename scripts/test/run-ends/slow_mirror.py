"""A mirror that never gets to the end of the model's file: `slow_mirror.py LOG`.

Prints its port. Answers any GET with the head of a GGUF file and then 256 KiB a second, also from the middle, and writes the
byte that each request begins at into LOG, a line each.
"""

import http.server
import re
import sys
import time
from pathlib import Path

SIZE = 98_362_432
PIECE = 32 * 1024
LOG = Path(sys.argv[1])


class Mirror(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked.group(1)) if asked else 0
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"{start}\n")
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(SIZE - start))
        self.send_header("ETag", '"one"')
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{SIZE - 1}/{SIZE}")
        self.end_headers()
        piece = b"GGUF".ljust(PIECE, b"\0") if start == 0 else bytes(PIECE)
        try:
            while True:
                self.wfile.write(piece)
                piece = bytes(PIECE)
                time.sleep(PIECE / (256 * 1024))
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
