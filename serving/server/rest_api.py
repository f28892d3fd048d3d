"""TensorFlow Serving's REST API over the versions of one model: paths to answers."""

import re
from typing import Any

import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse

from serving.histories import Histories, StoreError, rest
from serving.saved_model.version_folders import LARGEST
from serving.server.limits import Limits
from serving.server.loaded_version import LoadedVersion
from serving.server.model_config import ModelConfig
from serving.server.monitoring.answer_counts import AnswerCounts
from serving.server.predict_json import (
    RestError,
    read_inputs,
    read_json,
    signature_name,
    write_outputs,
)
from serving.server.versions import Versions

HISTORIES = "/v1/histories:"
"""What paths begin with that read and write the store: for our own page and for programs."""

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>[a-z]+)")
_HISTORIES = re.compile(rf"{HISTORIES}(?P<method>{'|'.join(rest.TAKES)})")
_STATUS = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}(?P<metadata>/metadata)?")

_HTTP_OF_CODE = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.RESOURCE_EXHAUSTED: 503,
}
"""Of what the model itself refuses; anything else is 500."""


class RestApi:
    """Answers a request, whatever brings it.

    Args:
        versions: what is served.
        config: name of the model and labels of versions; may be replaced while it runs.
        limits: what one request may ask for.
        counts: of what is answered.
        histories: a store that may be read and written to, at addresses of our own.
    """

    def __init__(
        self,
        versions: Versions,
        config: ModelConfig,
        limits: Limits,
        counts: AnswerCounts | None = None,
        histories: Histories | None = None,
    ):
        self.versions = versions
        self.histories = histories
        self.config = config
        self._limits = limits
        self._counts = counts or AnswerCounts()

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """The JSON that answers a request.

        Raises:
            RestError: it cannot be answered.
        """
        if method == "POST" and (match := _PREDICT.fullmatch(path)):
            if match["method"] != "predict":
                raise RestError(400, f"The model has no signature for {match['method']}")
            return self._predict(match, body)
        if method == "POST" and (match := _HISTORIES.fullmatch(path)):
            return self._histories(match["method"], body)
        if method == "GET" and (match := _STATUS.fullmatch(path)):
            return self._metadata(match) if match["metadata"] else self._status(match)
        raise RestError(400, f"Malformed request: {method} {path[:200]}")

    def _predict(self, match: re.Match[str], body: bytes) -> dict[str, Any]:
        _, version = self._find(match)
        document = read_json(body)
        name = signature_name(document, version.signatures)
        inputs, row_format = read_inputs(document, version.signatures[name].inputs, self._limits)
        try:
            outputs = version.run(name, inputs)
        except tf.errors.OpError as error:
            status = _HTTP_OF_CODE.get(error.error_code, 500)
            raise RestError(status, _what_happened(error.message)) from None
        self._counts.add(version.domains, inputs, outputs)
        return write_outputs(outputs, row_format)

    def _histories(self, method: str, body: bytes) -> dict[str, Any]:
        if self.histories is None:
            raise RestError(404, "There is no store of histories; --histories names one")
        try:
            return rest.answer(self.histories, method, read_json(body))
        except (TypeError, ValueError) as error:
            raise RestError(400, str(error)[:500]) from None
        except StoreError as error:
            raise RestError(503, f"The store of histories does not answer: {error}"[:500]) from None

    def _status(self, match: re.Match[str]) -> dict[str, Any]:
        number = self._number(match)
        statuses = sorted(self.versions.statuses.items(), reverse=True)
        asked = [status for version, status in statuses if number in (None, version)]
        if not asked:
            which = "any versions" if number is None else f"version {number}"
            raise RestError(404, f"Could not find {which} of model {match['model']}")
        return _json(GetModelStatusResponse(model_version_status=asked))

    def _metadata(self, match: re.Match[str]) -> dict[str, Any]:
        number, version = self._find(match)
        spec = {"name": self.config.name, "signature_name": "", "version": str(number)}
        signatures = _json(SignatureDefMap(signature_def=version.signatures))
        return {"model_spec": spec, "metadata": {"signature_def": signatures}}

    def _number(self, match: re.Match[str]) -> int | None:
        """The version that a path names by number or label; None where it names none."""
        if match["model"] != self.config.name:
            raise RestError(404, f"Could not find any versions of model {match['model']}")
        if match["label"] is not None:
            # Once, since the watcher may replace them meanwhile.
            number = self.config.labels.get(match["label"])
            if number is None:
                raise RestError(400, f"Unrecognized servable version label: {match['label']}")
            return number
        if match["version"] is not None:
            digits = match["version"].lstrip("0") or "0"
            # Python reads no integer of thousands of digits.
            if len(digits) > len(str(LARGEST)) or int(digits) > LARGEST:
                raise RestError(400, f"Failed to convert version: {match['version']} to numeric.")
            return int(digits)
        return None

    def _find(self, match: re.Match[str]) -> tuple[int, LoadedVersion]:
        number = self._number(match)
        try:
            return self.versions.find(number)
        except KeyError:
            which = "Latest" if number is None else "Specific"
            named = match["model"] if number is None else f"{match['model']}, {number}"
            raise RestError(404, f"Servable not found for request: {which}({named})") from None


def _json(message) -> dict[str, Any]:
    """A message as TensorFlow Serving writes it: every field, by its own name."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _what_happened(message: str) -> str:
    """TensorFlow's message without where in the graph and in Python it happened."""
    lines = [line for line in message.split("\n") if line.strip()]
    said = [line for line in lines if not line.startswith(("Graph execution error", "Detected at"))]
    return (said or lines)[0].strip()
