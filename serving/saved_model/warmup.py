"""Warm-up records: requests that TF Serving answers for itself before a version takes over."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from data_prep import Catalogue

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
"""Where TF Serving looks for them, below the directory of a version."""

BATCHES = 1, 8
"""Rows of the requests: one user, and some at once."""


def write_warmup(
    version: Path,
    model_name: str,
    catalogue: Catalogue,
    signatures: Mapping[str, Any],
    top_k: int,
    length: int = 50,
) -> None:
    """Writes requests for every domain and signature, so that no user waits for a first time.

    Args:
        version: directory of the SavedModel.
        model_name: the name that it will be served by.
        catalogue: its items; the histories are popular ones.
        signatures: `{name: tf.function}`, as `Recommender.functions`.
        top_k: answers that are asked for where a request says how many.
        length: items of a history.
    """
    file = version / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    popular = np.argsort(-catalogue.counts, kind="stable")[:length]
    history = [str(item) for item in catalogue.item_ids[popular]]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in _requests(history, catalogue.domains, top_k):
            if signature not in signatures:
                continue
            log = PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            for spec in signatures[signature].input_signature:
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(inputs[spec.name]))
            writer.write(log.SerializeToString())


def read_warmup(version: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The requests of a version, as `(signature, inputs)`; none where it has no such file."""
    file = version / FILE
    if not file.exists():
        return
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def _requests(history, domains, top_k):
    """Signatures, each with all that any of them may be asked by."""
    for rows in BATCHES:
        inputs = {
            "items": np.array([history] * rows, object).reshape(rows, len(history)),
            "k": np.full(rows, top_k, np.int32),
            "exclude_seen": np.full(rows, True),
            "allow": np.full([rows, 1], "", object),
            "deny": np.full([rows, 1], "", object),
            "timestamps": np.zeros([rows, len(history)]),
            "now": np.zeros(rows),
            "user_id": np.full(rows, "", object),
        }
        for signature in ("explain", "each_domain", "each_domain_filtered"):
            yield signature, inputs
        for domain in (*domains, ""):
            asked = inputs | {"domain": np.full(rows, domain, object)}
            yield "serving_default", asked
            yield "top_k", asked
            yield "filtered", asked
            yield "with_options", asked
            yield "with_times", asked
