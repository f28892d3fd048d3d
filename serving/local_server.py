"""Serves an exported model on this machine: `python -m serving.local_server --export_dir DIR`.

For development. It speaks the REST API of TensorFlow Serving, so that what works with it works
there; it has no TLS, no authentication and one process.
"""

import argparse
import contextlib
import socket
import threading
from pathlib import Path

import tf_syncrec  # noqa: F401  # isort: skip  (first: it hides the noise of TensorFlow)
import tensorflow as tf
import uvicorn

from data_prep import InputError
from serving.server.app import ModelServer, ServerLimits
from serving.server.model_config import ModelConfig, read_model_config
from serving.server.rest import Limits
from serving.server.versions import Versions
from tf_syncrec.cli import Parser, run_command, say

CONNECTIONS = 1000
"""Open ones; further ones are turned away by the web server itself."""


class Watcher:
    """Follows the directory of the versions, and models.config where there is one.

    Args:
        server: whose versions and configuration it renews.
        config_file: a models.config, or None.
        seconds: between two looks.
    """

    def __init__(self, server: ModelServer, config_file: Path | None, seconds: float):
        self._server = server
        self._config_file = config_file
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def look(self) -> None:
        """Takes over what has changed; says what was loaded and what could not be."""
        if self._config_file is not None:
            try:
                self._server.config = read_model_config(self._config_file)
            except InputError as error:  # half an edit: the next look may find it whole
                say(f"kept the configuration of before: {error}")
        for number in self._server.versions.refresh():
            status = self._server.versions.statuses[number]
            result = "ok" if status.state == "AVAILABLE" else "failed"
            self._server.metrics.loads.labels(result=result).inc()
            say(f"version {number}: {status.state} {status.error_message}".rstrip())

    def _run(self):
        while not self._stop.wait(self._seconds):
            self.look()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


def make_server(args: argparse.Namespace) -> tuple[ModelServer, Watcher]:
    """The server that the options describe, with its first versions loaded.

    Raises:
        InputError: there is nothing to serve.
    """
    export_dir = Path(args.export_dir)
    config_file = Path(args.model_config_file) if args.model_config_file else None
    config = read_model_config(config_file) if config_file else ModelConfig(name=args.model_name)
    versions = Versions(export_dir, lambda numbers: server.config.wanted(numbers))
    server = ModelServer(
        versions,
        config,
        ServerLimits(
            body=args.max_body_bytes,
            active=args.max_active,
            request=Limits(args.max_rows, args.max_history),
        ),
        args.threads,
    )
    watcher = Watcher(server, config_file, args.poll_seconds)
    watcher.look()
    if not versions.loaded:
        failed = "; ".join(
            f"version {number}: {status.error_message}"
            for number, status in versions.statuses.items()
        )
        raise InputError(
            f"--export_dir {export_dir}: no version that can be served"
            f"{' (' + failed + ')' if failed else ''}; python -m serving.export writes one"
        )
    return server, watcher


def listen(host: str, port: int) -> socket.socket:
    """The socket to answer on.

    Raises:
        InputError: it cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error})") from None
    # Inherited by connections. asyncio does not set it on those of a socket that it did not make,
    # and an answer in two packets then waits 40 ms for an acknowledgement.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m serving.local_server",
        description="Serve an exported model with TensorFlow Serving's REST API. For development, "
        "not for production: see docs/serving.md.",
        examples=["--export_dir runs/shop/export/syncrec"],
    )
    limits, request = ServerLimits(), Limits()
    port = _number(int, lambda value: 0 <= value < 2**16, "a number from 0 to 65535")
    count = _number(int, lambda value: value > 0, "a whole number above 0")
    seconds = _number(float, lambda value: 0 < value < 1e6, "a number above 0")
    add = parser.add_argument
    add("--export_dir", required=True, metavar="DIR", help="directory of the versions")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=port, default=8501, help="0: any free one (default: 8501)")
    add("--model_name", default=ModelConfig.name, help="name in requests (default: syncrec)")
    add(
        "--model_config_file",
        metavar="FILE",
        help="TensorFlow Serving's models.config: name, labels and which versions are served; "
        "changes are followed",
    )
    add("--poll_seconds", type=seconds, default=1.0, help="between two looks for new versions")
    add("--threads", type=count, default=4, help="requests computed at a time")
    add("--max_active", type=count, default=limits.active, help="requests at a time, else 503")
    add("--max_body_bytes", type=count, default=limits.body, help="size of a request, else 413")
    add("--max_rows", type=count, default=request.rows, help="rows of a batch, else 400")
    add("--max_history", type=count, default=request.history, help="length, else 400")
    args = parser.parse_args(argv)

    tf.get_logger().setLevel("ERROR")  # that the session-based loader is deprecated
    with listen(args.host, args.port) as sock:
        server, watcher = make_server(args)
        host, port = sock.getsockname()[:2]
        say(
            f"Serving {server.config.name} at http://{f'[{host}]' if ':' in host else host}:{port} "
            "(demo page at /, metrics at /metrics)\n"
            "For development only: no TLS, no authentication, one process. In production, let "
            "TensorFlow Serving do this: docs/serving.md"
        )
        if not (host.startswith("127.") or host == "::1"):
            say(f"Warning: --host {args.host} lets other machines in.")
        web = uvicorn.Server(
            uvicorn.Config(
                server.app,
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS,
                timeout_keep_alive=30,
            )
        )
        with watcher, contextlib.suppress(KeyboardInterrupt):
            web.run(sockets=[sock])
        server.close()


def _number(kind, holds, what):
    """A type of an option, with an error that says what is wanted."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"{what}, received {text!r}")
        return value

    return read


if __name__ == "__main__":
    run_command(main)
