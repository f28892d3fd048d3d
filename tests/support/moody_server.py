"""A server of HTTP that does as a script says, for the tests of the client."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any


@contextlib.contextmanager
def moody_server():
    """Yields `url`, `script`, what it answers in turn, and `asked`, what it was asked.

    An entry of the script is `(status, body)`, `(status, body, headers)`, `(None, None)`, which
    hangs up, or a function of the handler. The last one holds for all that come later.
    """
    asked: list[Any] = []
    script: list[Any] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("content-length", 0))
            asked.append(json.loads(self.rfile.read(length) or "null"))
            entry = script.pop(0) if len(script) > 1 else script[0]
            if callable(entry):
                with contextlib.suppress(OSError):
                    entry(self)
                self.close_connection = True
                return
            status, body, *headers = entry
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_header("content-length", str(len(data)))
            for name, value in headers[0].items() if headers else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST

        def drip(self, data: bytes, pause: float = 0.05) -> None:
            """Sends byte after byte, for ever where there are enough."""
            for byte in data:
                if over.is_set():
                    return
                self.wfile.write(bytes([byte]))
                time.sleep(pause)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield SimpleNamespace(url=url, asked=asked, script=script)
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def outputs(rows):
    """What a right server sends for so many rows."""
    return {
        "outputs": {
            "items": [["a", "b", ""]] * rows,
            "scores": [[2.0, 1.0, 0.0]] * rows,
            "domains": [["x", "x", ""]] * rows,
            "known_items": [1] * rows,
            "fallback": [0] * rows,
        }
    }
