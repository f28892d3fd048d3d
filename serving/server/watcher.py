"""Follows the versions on disk, and models.config, while the server runs."""

import contextlib
import threading
from collections.abc import Hashable
from pathlib import Path

from tensorflow.core.protobuf import error_codes_pb2
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
        self._said: dict[Hashable, str] = {}  # what is wrong, by what it is about
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def look(self) -> None:
        """Takes over what has changed; says what was loaded and what could not be."""
        api, metrics = self._server.api, self._server.metrics
        if self._config_file is not None:
            try:
                api.config = read_model_config(self._config_file)
                self._mended(self._config_file)
            except InputError as error:  # half an edit: the next look may find it whole
                self._say_once(self._config_file, f"kept the previous configuration: {error}")
        for number in api.versions.refresh(api.config.labels.values()):
            status = api.versions.statuses[number]
            failed = status.status.error_code != error_codes_pb2.OK
            metrics.loads.labels(result="failed" if failed else "ok").inc()
            if failed:
                kept = " (the loaded one stays in use)" if number in api.versions.loaded else ""
                reason = status.status.error_message
                self._say_once(number, f"version {number}: cannot be loaded{kept}: {reason}")
            else:
                _say(f"version {number}: {ModelVersionStatus.State.Name(status.state)}")
        self._forget_mended_versions()
        loaded = api.versions.loaded
        for version in loaded.values():
            metrics.answers.know(version.domains)
        exported = {number: version.exported for number, version in loaded.items()}
        metrics.tell_versions(exported, api.config.labels)

    def _run(self):
        while not self._stop.wait(self._seconds):
            try:
                self.look()
                self._mended("look")
            except Exception as error:  # a disk that is away, say: the next look may find it
                self._say_once("look", f"cannot look for versions: {error}")

    def _say_once(self, about: Hashable, text: str) -> None:
        """Not at every look."""
        if self._said.get(about) != text:
            self._said[about] = text
            _say(text)

    def _forget_mended_versions(self):
        """What is wrong with one again, as with another of its number, is said again."""
        failing = {
            number
            for number, status in self._server.api.versions.statuses.items()
            if status.status.error_code != error_codes_pb2.OK
        }
        for about in list(self._said):
            if isinstance(about, int) and about not in failing:
                del self._said[about]

    def _mended(self, about: Hashable) -> None:
        if text := self._said.pop(about, None):
            _say(f"resolved: {text}")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


def _say(text: str) -> None:
    """Whoever read it may have gone, or the disk be full: no reason to look no more."""
    with contextlib.suppress(OSError):
        say(text)
