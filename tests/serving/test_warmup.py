"""Warm-up requests are ones that the version answers, for every signature and domain."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.saved_model.warmup import FILE, read_warmup
from serving.server import versions
from serving.server.loaded_version import LoadedVersion
from tests.support.exporting import DOMAINS, TOP_K


def test_records_are_prediction_logs_of_every_signature_and_domain(served):
    requests = []
    for record in tf.data.TFRecordDataset(str(served.version / FILE)).as_numpy_iterator():
        log = PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.predict_log.request.model_spec.name == "syncrec"
        requests.append(log.predict_log.request)
    assert len(requests) <= 1000  # TensorFlow Serving reads no more
    asked = {
        (
            request.model_spec.signature_name,
            tf.make_ndarray(request.inputs["domain"])[0].decode()
            if "domain" in request.inputs
            else None,
        )
        for request in requests
    }
    assert asked == {
        (signature, domain)
        for signature in ("serving_default", "top_k", "filtered", "with_options")
        for domain in (*DOMAINS, "")
    } | {(signature, None) for signature in ("explain", "each_domain", "each_domain_filtered")}


def test_what_is_read_is_what_a_server_can_ask(served):
    version = versions.LoadedVersion(served.version)  # one for all tests
    seen = 0
    for name, inputs in read_warmup(served.version):
        signature = version.signatures[name].inputs
        assert set(inputs) == set(signature)
        for key, value in inputs.items():
            assert tf.as_dtype(signature[key].dtype) == tf.as_dtype(
                tf.string if value.dtype == object else value.dtype
            )
        answer = version.run(name, inputs)
        assert (answer["known_items"] > 0).all()
        if name != "explain":
            assert answer["items"].shape[:: 2 if "each" in name else 1] == (
                len(inputs["items"]),
                TOP_K,
            )
        seen += 1
    assert seen > 2 * len(DOMAINS)


@pytest.mark.slow
def test_a_version_without_records_serves_too(served, tmp_path):
    shutil.copytree(served.version, tmp_path / "1", ignore=shutil.ignore_patterns("assets.extra"))
    assert list(read_warmup(tmp_path / "1")) == []
    version = LoadedVersion(tmp_path / "1")
    answer = version.run(
        "serving_default", {"items": np.array([[""]], object), "domain": np.array([""], object)}
    )
    assert answer["fallback"].tolist() == [1]


def test_a_request_that_the_model_refuses_keeps_a_version_from_serving(served, tmp_path):
    """TensorFlow Serving does not let such a version serve either."""
    shutil.copytree(served.version, tmp_path / "1")
    (record, *_) = tf.data.TFRecordDataset(str(served.version / FILE)).skip(3).as_numpy_iterator()
    log = PredictionLog.FromString(record)
    assert "domain" in log.predict_log.request.inputs
    log.predict_log.request.inputs["domain"].CopyFrom(tf.make_tensor_proto(["no such domain"]))
    with tf.io.TFRecordWriter(str(tmp_path / "1" / FILE)) as writer:
        writer.write(log.SerializeToString())
    with pytest.raises(tf.errors.InvalidArgumentError, match="unknown domain"):
        LoadedVersion(tmp_path / "1")
