"""Follows the versions on disk, and models.config, while the server runs."""

import threading
from pathlib import Path

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from data_prep import InputError
from serving.server.app import ModelServer
from serving.server.model_config import read_model_config
from tf_syncrec.cli import say


class Watcher:
    """Looks again and again, as TensorFlow Serving does, on whatever disk.

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
        api, metrics = self._server.api, self._server.metrics
        before = set(api.versions.loaded)
        if self._config_file is not None:
            try:
                api.config = read_model_config(self._config_file)
            except InputError as error:  # half an edit: the next look may find it whole
                say(f"kept the configuration of before: {error}")
        for number in api.versions.refresh():
            status = api.versions.statuses[number]
            result = "ok" if number in api.versions.loaded else "failed"
            metrics.loads.labels(result=result).inc()
            state = ModelVersionStatus.State.Name(status.state)
            say(f"version {number}: {state} {status.status.error_message}".rstrip())
        for number in api.versions.loaded:
            metrics.served.labels(version=number).set(1)
        for number in before - set(api.versions.loaded):
            metrics.served.remove(number)

    def _run(self):
        while not self._stop.wait(self._seconds):
            self.look()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()
