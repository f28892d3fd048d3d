"""The local server on a free port, in this process, for the tests of serving."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace
from unittest import mock

import tensorflow as tf

from serving.local_server import listen
from serving.server import loaded_version
from serving.server.limits import Limits
from serving.server.model_config import ModelConfig
from serving.server.web import make_server, web_server

LIMITS = Limits(body=200_000, active=16, rows=64, history=1000, body_seconds=1.0)
"""Of the server that most tests ask."""
PATIENCE = 120.0
"""Seconds that a test waits, say for the first answer of a signature, on however busy a machine."""


def without_warmup():
    """Versions that are loaded inside answer their first requests late: a test asks but a few."""
    return mock.patch.object(loaded_version, "read_warmup", return_value=())


@contextlib.contextmanager
def running(export_dir, limits=None, config_file=None, seconds=0.05, threads=2, histories=None):
    """Yields `url`, `port`, `server`, `web` and the `watcher`, which looks every `seconds`."""
    with without_warmup():  # of its first versions, which it loads here
        server, watcher = make_server(
            export_dir, ModelConfig(), config_file, seconds, limits or Limits(), threads, histories
        )
    with listen("127.0.0.1", 0) as sock:
        web = web_server(server)
        thread = threading.Thread(target=web.run, kwargs={"sockets": [sock]}, daemon=True)
        thread.start()
        port = sock.getsockname()[1]
        try:
            with watcher:
                yield SimpleNamespace(
                    url=f"http://127.0.0.1:{port}",
                    port=port,
                    server=server,
                    watcher=watcher,
                    web=web,
                )
        finally:
            web.should_exit = True
            thread.join(30)
            server.close()


def raw(port, data, seconds=20):
    """What the server sends back for these bytes, until it closes or goes silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):  # it may answer before it has read all
            connection.sendall(data)
        received = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def wait_for(condition, seconds=PATIENCE):
    """Returns once a condition holds; fails after a while."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


class Tiny(tf.Module):
    """A model that answers with the number of its version; loaded in no time."""

    def __init__(self, number):
        super().__init__()
        self.number = tf.Variable(number, trainable=False)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="items"),
            tf.TensorSpec([None], tf.string, name="domain"),
        ]
    )
    def serving_default(self, items, domain):
        return {"version": tf.fill([tf.shape(domain)[0]], self.number)}


def put(base, number, says=None):
    """Renames a version in, as the export does; it answers by its number, or by what it `says`."""
    partial = base / f".{number}.partial"
    model = Tiny(number if says is None else says)
    signatures = {"serving_default": model.serving_default}
    tf.saved_model.save(model, str(partial), signatures=signatures)
    partial.rename(base / str(number))
