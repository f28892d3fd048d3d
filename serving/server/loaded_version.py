"""A SavedModel in memory, loaded and run as TensorFlow Serving does it."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.saved_model.export_time import read_export_time
from serving.saved_model.fingerprint import check_fingerprint
from serving.saved_model.search import scann_index
from serving.saved_model.warmup import read_warmup


class LoadedVersion:
    """A version by tag and tensor names, its warm-up requests answered.

    Its memory is freed with the last reference to it: whoever answers a request holds one.

    Args:
        path: directory of the version.

    Attributes:
        signatures: `{name: SignatureDef}`.
        exported: when, in seconds since 1970.
        domains: names, in bytes; none of a model that does not tell.

    Raises:
        InputError: it was exported with ScaNN, which cannot be loaded here, or its files are not of
            one export.
    """

    def __init__(self, path: Path):
        if scann_index.uses_scann(path):
            scann_index.operations()
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(
                self._session, [tf.saved_model.SERVING], str(path)
            )
        check_fingerprint(path)  # now: what cannot be loaded has an error of its own
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
        self.exported = read_export_time(path)
        self.domains = self._domains()

    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of a signature; any number of threads may call it at a time.

        Raises:
            tf.errors.OpError: the model refuses the inputs.
        """
        signature = self.signatures[name]
        values = self._calls[name](*(inputs[key] for key in signature.inputs))
        return dict(zip(signature.outputs, values, strict=True))

    def _domains(self) -> list[bytes]:
        explain = self.signatures.get("explain")
        if explain is None or "domains" not in explain.outputs or set(explain.inputs) != {"items"}:
            return []
        nobody = np.array([[b""]], object)
        return list(self.run("explain", {"items": nobody})["domains"][0])
