"""Which versions of a model are served; a new one takes over without a gap."""

import gc
from collections.abc import Callable, Iterable
from pathlib import Path

from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.saved_model.version_folders import list_versions
from serving.server.loaded_version import LoadedVersion


class Versions:
    """Those versions of a directory that are served.

    Args:
        export_dir: directory of the versions.
        wanted: chooses from the numbers on disk, ascending, those to serve; the newest by default.

    Attributes:
        loaded: `{number: LoadedVersion}`, ascending; replaced as a whole, so any thread may read.
        statuses: `{number: ModelVersionStatus}`, of what is loaded and what could not be.
    """

    def __init__(
        self,
        export_dir: Path,
        wanted: Callable[[list[int]], Iterable[int]] = lambda numbers: numbers[-1:],
    ):
        self._export_dir = export_dir
        self._wanted = wanted
        self.loaded: dict[int, LoadedVersion] = {}
        self.statuses: dict[int, ModelVersionStatus] = {}

    def refresh(self) -> list[int]:
        """Loads what is new on disk, then lets go of what is no longer wanted.

        A version that cannot be loaded is left alone until its directory goes, and the old ones
        stay. From one thread at a time.

        Returns:
            The versions that this call tried to load.
        """
        found = list_versions(self._export_dir)
        for number in set(self.statuses) - set(found) - set(self.loaded):
            self._forget(number)
        wanted = [number for number in self._wanted(list(found)) if number in found]
        new = [number for number in wanted if number not in self.statuses]
        for number in new:
            self._tell(number, "LOADING")
            try:
                version = LoadedVersion(found[number])
            except Exception as error:  # whatever is wrong with the files of a version
                self._tell(number, "END", error)
                continue
            self.loaded = dict(sorted({**self.loaded, number: version}.items()))
            del version
            self._tell(number, "AVAILABLE")
        if any(number in self.loaded for number in wanted):
            leaving = set(self.loaded) - set(wanted)
            self.loaded = {n: version for n, version in self.loaded.items() if n not in leaving}
            for number in leaving:  # so that it is loaded again if it is wanted again
                self._forget(number)
        if new:
            # A graph is a web of cycles, and Python alone would let many of them gather.
            gc.collect()
        return new

    def find(self, number: int | None = None) -> tuple[int, LoadedVersion]:
        """A version that is served; the newest where no number is given.

        Raises:
            KeyError: it is not served.
        """
        loaded = self.loaded
        if number is None:
            number = max(loaded, default=0)
        return number, loaded[number]

    def close(self) -> None:
        """Lets go of everything."""
        self.loaded = {}

    def _tell(self, number, state, error=None):
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code = error_codes_pb2.OK
        if error is not None:
            # UNKNOWN for an error that is not TensorFlow's.
            status.status.error_code = getattr(error, "error_code", error_codes_pb2.UNKNOWN)
            status.status.error_message = " ".join(str(error).split())[:1000]
        self.statuses = {**self.statuses, number: status}

    def _forget(self, number):
        self.statuses = {n: status for n, status in self.statuses.items() if n != number}
