"""Which versions of a model are served; a new one takes over without a gap."""

import gc
import time
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from data_prep import InputError
from serving.saved_model.in_use import Marks
from serving.saved_model.version_folders import contents, list_versions
from serving.server.loaded_version import LoadedVersion

AGAIN = 60.0
"""Seconds after which a version that could not be loaded is tried again, its files unchanged."""


@dataclass(frozen=True)
class _Try:
    """To load a version: of which files, when, and whether it failed."""

    files: Hashable
    failed: bool
    time: float


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
        self._marks = Marks()
        self._tried: dict[int, _Try] = {}
        self._seen: dict[int, Hashable] = {}  # files at the last look

    def refresh(self, labelled: Collection[int] = ()) -> list[int]:
        """Loads what is new on disk, then lets go of what is no longer wanted.

        What is loaded, wanted or `labelled` is marked as in use, so that no export deletes it.

        A version whose files are others than those that were read is read again, once they are at
        rest, which is from one call to the next; so one that was copied in slowly is met whole in
        the end. One that cannot be loaded is tried again after a while as well; meanwhile what was
        loaded stays, of its number and of others. From one thread at a time.

        Returns:
            The versions that this call tried to load.
        """
        found = list_versions(self._export_dir)
        for number in set(self._tried) - set(found):
            if number in self.loaded:
                del self._tried[number]  # whatever comes by this number is new
            else:
                self._forget(number)
        wanted = [number for number in self._wanted(list(found)) if number in found]
        due = [number for number in wanted if self._is_due(number, contents(found[number]))]
        # Now, so that none is loaded but what is marked: `_load` sees that it is the same folder.
        self._mark(found, {*wanted, *labelled})
        for number in due:
            self._load(number, found[number])
        if any(number in self.loaded for number in wanted):
            leaving = set(self.loaded) - set(wanted)
            self.loaded = {n: version for n, version in self.loaded.items() if n not in leaving}
            for number in leaving:  # so that it is loaded again if it is wanted again
                self._forget(number)
        self._mark(found, {*wanted, *labelled})
        if due:
            # A graph is a web of cycles, and Python alone would let many of them gather.
            gc.collect()
        return due

    def _mark(self, found: dict[int, Path], numbers: Collection[int]) -> None:
        self._marks.hold(found[n] for n in {*numbers, *self.loaded} if n in found)

    def _is_due(self, number: int, now: Hashable) -> bool:
        """Whether to load a version with these files."""
        before, self._seen[number] = self._seen.get(number), now
        tried = self._tried.get(number)
        if tried is None:
            return True
        if tried.files != now:
            return now == before
        return tried.failed and time.monotonic() >= tried.time + AGAIN

    def _load(self, number: int, path: Path) -> None:
        files = self._seen[number]
        if number not in self.loaded:
            self._tell(number, "LOADING")
        error = None
        try:
            version = LoadedVersion(path)
            if contents(path) != files:
                raise InputError("its files changed while they were read")
        except Exception as reason:  # whatever is wrong with the files of a version
            error = reason
        else:
            self.loaded = dict(sorted({**self.loaded, number: version}.items()))
            del version
        self._tried[number] = _Try(files, error is not None, time.monotonic())
        # What was loaded before still answers.
        self._tell(number, "AVAILABLE" if number in self.loaded else "END", error)

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
        self._marks.hold(())

    def _tell(self, number, state, error=None):
        status = ModelVersionStatus(version=number, state=state)
        status.status.error_code = error_codes_pb2.OK
        if error is not None:
            # UNKNOWN for an error that is not TensorFlow's.
            status.status.error_code = getattr(error, "error_code", error_codes_pb2.UNKNOWN)
            status.status.error_message = " ".join(str(error).split())[:1000]
        self.statuses = {**self.statuses, number: status}

    def _forget(self, number):
        self._tried.pop(number, None)
        self._seen.pop(number, None)
        self.statuses = {n: status for n, status in self.statuses.items() if n != number}
