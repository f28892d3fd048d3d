"""The versions of a model on disk and in memory; a new one takes over without a gap."""

import gc
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tf_syncrec  # noqa: F401  # isort: skip  (first: it hides the noise of TensorFlow)
import numpy as np
import tensorflow as tf

from serving.saved_model import scann_index
from serving.saved_model.warmup import read_warmup


def list_versions(export_dir: Path) -> dict[int, Path]:
    """Directories that TF Serving takes for versions: those with a number for a name; ascending."""
    folders = export_dir.iterdir() if export_dir.is_dir() else []
    found = {
        int(path.name): path
        for path in folders
        if path.name.isascii() and path.name.isdigit() and path.is_dir()
    }
    return dict(sorted(found.items()))


class ServedVersion:
    """A SavedModel in memory, loaded and run as TF Serving does it: by tag and tensor names.

    Args:
        path: directory of the version.

    Attributes:
        signatures: `{name: SignatureDef}`.

    Raises:
        InputError: it was exported with ScaNN, which cannot be loaded here.
    """

    def __init__(self, path: Path):
        if scann_index.uses_scann(path):
            scann_index.operations()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        try:
            with graph.as_default():
                loaded = tf.compat.v1.saved_model.loader.load(
                    self._session, [tf.saved_model.SERVING], str(path)
                )
            self.signatures = {
                name: signature
                for name, signature in loaded.signature_def.items()
                if not name.startswith("__")  # __saved_model_init_op
            }
            self._calls = {
                name: self._session.make_callable(
                    [signature.outputs[key].name for key in signature.outputs],
                    [signature.inputs[key].name for key in signature.inputs],
                )
                for name, signature in self.signatures.items()
            }
            for name, inputs in read_warmup(path):
                self.run(name, inputs)
        except BaseException:
            self._session.close()
            raise
        self._users = 0
        self._retired = False
        self._lock = threading.Lock()

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature; any number of threads may call it at a time.

        Raises:
            tf.errors.OpError: the model refuses the inputs.
        """
        signature = self.signatures[name]
        values = self._calls[name](*(inputs[key] for key in signature.inputs))
        return dict(zip(signature.outputs, values, strict=True))

    def acquire(self) -> None:
        """Keeps the version in memory until `release`, whatever becomes of it."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """The end of what `acquire` began."""
        with self._lock:
            self._users -= 1
            self._close_if_idle()

    def retire(self) -> None:
        """Frees the memory, once the last request is answered."""
        with self._lock:
            self._retired = True
            self._close_if_idle()

    def _close_if_idle(self):
        if self._retired and not self._users:
            self._calls.clear()  # they hold on to the session
            self._session.close()


@dataclass(frozen=True)
class Status:
    """What is known of a version, in the words of TF Serving's status API."""

    state: str
    error_code: str = "OK"
    error_message: str = ""


class Versions:
    """Those versions of a directory that are served.

    Args:
        export_dir: directory of the versions.
        wanted: chooses from the numbers on disk, ascending, those to serve; the newest by default.
    """

    def __init__(
        self,
        export_dir: Path,
        wanted: Callable[[list[int]], Iterable[int]] = lambda numbers: numbers[-1:],
    ):
        self._export_dir = export_dir
        self._wanted = wanted
        self._loaded: dict[int, ServedVersion] = {}
        self._lock = threading.Lock()
        self.statuses: dict[int, Status] = {}

    @property
    def loaded(self) -> list[int]:
        """Numbers of the versions in memory, ascending."""
        return sorted(self._loaded)

    def refresh(self) -> list[int]:
        """Loads what is new on disk, then lets go of what is no longer wanted.

        A version that cannot be loaded is left alone until its directory goes, and the old ones
        stay. From one thread at a time.

        Returns:
            The versions that this call tried to load.
        """
        found = list_versions(self._export_dir)
        for number in set(self.statuses) - set(found) - set(self._loaded):
            del self.statuses[number]
        wanted = [number for number in self._wanted(list(found)) if number in found]
        new = [number for number in wanted if number not in self.statuses]
        for number in new:
            self.statuses[number] = Status("LOADING")
            try:
                version = ServedVersion(found[number])
            except Exception as error:  # whatever is wrong with the files of a version
                message = " ".join(str(error).split())[:1000]
                code = getattr(error, "error_code", None)
                self.statuses[number] = Status("END", _code_name(code), message)
                continue
            with self._lock:
                self._loaded[number] = version
            self.statuses[number] = Status("AVAILABLE")
        if any(number in self._loaded for number in wanted):
            for number in set(self._loaded) - set(wanted):
                with self._lock:
                    version = self._loaded.pop(number)
                # Forgotten, so that it is loaded again if it is wanted again.
                del self.statuses[number]
                version.retire()
                del version
        if new:
            # A graph is a web of cycles, and Python alone would let many of them gather.
            gc.collect()
        return new

    def acquire(self, number: int | None = None) -> tuple[int, ServedVersion]:
        """A version to use until its `release`; the newest where no number is given.

        Raises:
            KeyError: it is not served.
        """
        with self._lock:  # no one can let go of it between finding and acquiring it
            if number is None:
                if not self._loaded:
                    raise KeyError(number)
                number = max(self._loaded)
            version = self._loaded[number]
            version.acquire()
        return number, version

    def close(self) -> None:
        """Lets go of everything."""
        with self._lock:
            versions, self._loaded = self._loaded, {}
        for version in versions.values():
            version.retire()


def _code_name(code):
    """TensorFlow's name of an error code; UNKNOWN for an error that is not TensorFlow's."""
    names = {
        tf.errors.INVALID_ARGUMENT: "INVALID_ARGUMENT",
        tf.errors.NOT_FOUND: "NOT_FOUND",
        tf.errors.DATA_LOSS: "DATA_LOSS",
        tf.errors.INTERNAL: "INTERNAL",
    }
    return names.get(code, "UNKNOWN")
