"""Runs the local server: uvicorn on a socket, and a watcher beside."""

import argparse
import contextlib
import dataclasses
import resource
import socket
from pathlib import Path

import tensorflow as tf
import uvicorn

from data_prep import InputError
from serving.histories import Histories
from serving.server.app import ModelServer
from serving.server.connections import connection_type
from serving.server.demo.item_names import ItemNames
from serving.server.limits import BACKLOG, Limits
from serving.server.model_config import ModelConfig
from serving.server.versions import Versions
from serving.server.watcher import Watcher
from tf_syncrec.cli import say

OWN_FILES = 256
"""Most that the process itself has open: TensorFlow, the versions that it reads."""

FILES = 4096
"""Open files that are enough; many systems give a process 1,024 unless it asks."""


def serve(
    sock: socket.socket,
    config: ModelConfig,
    args: argparse.Namespace,
    histories: Histories | None = None,
    names: ItemNames | None = None,
) -> None:
    """Serves the versions of a directory until Ctrl-C.

    Args:
        sock: what to answer on.
        config: of the model, as a models.config or the options have it.
        args: the options of `serving.local_server`.
        histories: of the demo page, if it has any.
        names: of items, for the demo page.

    Raises:
        InputError: there is nothing to serve.
    """
    tf.get_logger().setLevel("ERROR")  # that the session-based loader is deprecated
    server, watcher = make_server(
        args.export_dir,
        config,
        args.model_config_file,
        args.poll_seconds,
        Limits(args.max_body_bytes, args.max_active, args.max_rows, args.max_history),
        args.threads,
        histories,
        names,
    )
    host, port = sock.getsockname()[:2]
    say(
        f"Serving {config.name} at http://{f'[{host}]' if ':' in host else host}:{port} "
        "(demo page at /, metrics at /metrics)\n"
        "For development only: no TLS, no authentication, one process. In production, let "
        "TensorFlow Serving do this: docs/serving.md"
    )
    if not (host.startswith("127.") or host == "::1"):
        say(f"Warning: --host {args.host} lets other machines in.")
    with watcher, contextlib.suppress(KeyboardInterrupt):
        web_server(server).run(sockets=[sock])
    server.close()


def web_server(server: ModelServer) -> uvicorn.Server:
    """What takes the connections of a server, with its limits."""
    limits = server.limits
    most = min(limits.connections, max(16, _files() - BACKLOG - OWN_FILES))
    return uvicorn.Server(
        uvicorn.Config(
            server.app,
            http=connection_type(dataclasses.replace(limits, connections=most)),
            log_level="warning",
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=limits.idle_seconds,
        )
    )


def _files() -> int:
    """How many files may be open; asks for more where that is not enough."""
    known = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (FILES if most == resource.RLIM_INFINITY else most for most in known)
    if soft < (wanted := min(hard, FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, known[1]))
    return max(soft, wanted)


def make_server(
    export_dir: Path,
    config: ModelConfig,
    config_file: Path | None = None,
    poll_seconds: float = 1.0,
    limits: Limits | None = None,
    threads: int = 4,
    histories: Histories | None = None,
    names: ItemNames | None = None,
) -> tuple[ModelServer, Watcher]:
    """A server with its first versions loaded, and what keeps it up to date.

    Raises:
        InputError: there is nothing to serve.
    """
    versions = Versions(export_dir, lambda numbers: server.api.config.wanted(numbers))
    server = ModelServer(versions, config, limits, threads, histories, names)
    watcher = Watcher(server, config_file, poll_seconds)
    watcher.look()
    if not versions.loaded:
        failed = "; ".join(
            f"version {number}: {status.status.error_message}"
            for number, status in versions.statuses.items()
        )
        server.close()
        raise InputError(
            f"--export_dir {export_dir}: no version that can be served"
            f"{' (' + failed + ')' if failed else ''}; python -m serving.export writes one"
        )
    return server, watcher
