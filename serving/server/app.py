"""TensorFlow Serving's REST API over the versions of one model, as an ASGI application."""

import asyncio
import contextlib
import html
import logging
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tf_syncrec  # noqa: F401  # isort: skip  (first: it hides the noise of TensorFlow)
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.server.model_config import ModelConfig
from serving.server.monitoring import Metrics
from serving.server.rest import (
    Limits,
    RestError,
    read_inputs,
    read_json,
    signature_name,
    write_outputs,
)
from serving.server.versions import ServedVersion, Versions

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>[a-z]+)")
_STATUS = re.compile(rf"/v1/models/(?P<model>[^/:]+){_VERSION}(?P<metadata>/metadata)?")

_HTTP_OF_CODE = {
    tf.errors.INVALID_ARGUMENT: 400,
    tf.errors.OUT_OF_RANGE: 400,
    tf.errors.RESOURCE_EXHAUSTED: 503,
}
"""Of what the model itself refuses; anything else is 500."""


@dataclass(frozen=True)
class ServerLimits:
    """What the server takes on.

    Attributes:
        body: bytes of a request.
        active: requests at a time; further ones are told to come again.
        body_seconds: how long the body of a request may take to arrive.
        request: what one request may ask for.
    """

    body: int = 4 * 2**20
    active: int = 64
    body_seconds: float = 10.0
    request: Limits = field(default_factory=Limits)


class ModelServer:
    """Answers requests; `app` is what a web server runs.

    Args:
        versions: what is served.
        config: name of the model and labels of versions; may be replaced while it runs.
        limits: what it takes on.
        threads: requests that are computed at a time.
    """

    def __init__(
        self,
        versions: Versions,
        config: ModelConfig,
        limits: ServerLimits | None = None,
        threads: int = 4,
    ):
        self.versions = versions
        self.config = config
        self.limits = limits or ServerLimits()
        self.metrics = Metrics(lambda: versions.loaded)
        self._active = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._page = (Path(__file__).parent / "demo.html").read_text(encoding="utf-8")
        self.app = Starlette(
            routes=[
                Route("/", self._demo),
                Route("/metrics", self._prometheus),
                Route("/{path:path}", self._api, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
            ]
        )

    def close(self) -> None:
        """Waits for what is being computed and frees the memory."""
        self._pool.shutdown()
        self.versions.close()

    # ------------------------------------------------------------------------------- endpoints

    async def _demo(self, request: Request) -> Response:
        return HTMLResponse(self._page.replace("{{model}}", html.escape(self.config.name)))

    async def _prometheus(self, request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _api(self, request: Request) -> Response:
        start = time.perf_counter()
        self._active += 1
        self.metrics.active.set(self._active)
        headers = {}
        try:
            if self._active > self.limits.active:
                headers["Retry-After"] = "1"
                raise RestError(503, f"Too many requests at a time, {self.limits.active} at most")
            body = await self._body(request)
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(
                self._pool, self.answer, request.method, request.url.path, body
            )
            status = 200
        except RestError as error:
            status, answer = error.status, {"error": str(error)}
        except ClientDisconnect:
            status, answer = 400, {"error": "The client went away"}
        except Exception:  # a mistake of ours, and still an answer
            logging.getLogger(__name__).exception("%s %s", request.method, request.url.path)
            status, answer = 500, {"error": "Internal error, see the log of the server"}
        finally:
            self._active -= 1
            self.metrics.active.set(self._active)
        if status in (408, 413):
            headers["Connection"] = "close"  # what is left of the body is not read
        self.metrics.requests.labels(status=status).inc()
        self.metrics.seconds.observe(time.perf_counter() - start)
        return JSONResponse(answer, status, headers)

    async def _body(self, request: Request) -> bytes:
        limit = self.limits.body
        too_large = RestError(413, f"The request is larger than {limit} bytes")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length[:20]) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise RestError(
                408, f"The request took longer than {self.limits.body_seconds} s to arrive"
            ) from None
        return bytes(body)

    # --------------------------------------------------------------------------------- answers

    def answer(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """The JSON that answers a request.

        Raises:
            RestError: it cannot be answered.
        """
        if method == "POST" and (match := _PREDICT.fullmatch(path)):
            if match["method"] != "predict":
                raise RestError(400, f"The model has no signature for {match['method']}")
            return self._predict(match, body)
        if method == "GET" and (match := _STATUS.fullmatch(path)):
            return self._metadata(match) if match["metadata"] else self._status(match)
        raise RestError(400, f"Malformed request: {method} {path[:200]}")

    def _predict(self, match: re.Match[str], body: bytes) -> dict[str, Any]:
        with self._use(match) as (_, version):
            document = read_json(body)
            name = signature_name(document, version.signatures)
            inputs, row_format = read_inputs(
                document, version.signatures[name].inputs, self.limits.request
            )
            try:
                outputs = version.run(name, inputs)
            except tf.errors.OpError as error:
                raise RestError(
                    _HTTP_OF_CODE.get(error.error_code, 500), _what_happened(error.message)
                ) from None
        return write_outputs(outputs, row_format)

    def _status(self, match: re.Match[str]) -> dict[str, Any]:
        number = self._number(match)
        statuses = {
            version: status
            for version, status in sorted(self.versions.statuses.items(), reverse=True)
            if number in (None, version)
        }
        if not statuses:
            which = "any versions" if number is None else f"version {number}"
            raise RestError(404, f"Could not find {which} of model {match['model']}")
        return {
            "model_version_status": [
                {
                    "version": str(version),
                    "state": status.state,
                    "status": {
                        "error_code": status.error_code,
                        "error_message": status.error_message,
                    },
                }
                for version, status in statuses.items()
            ]
        }

    def _metadata(self, match: re.Match[str]) -> dict[str, Any]:
        with self._use(match) as (number, version):
            signatures = {
                name: MessageToDict(
                    signature,
                    preserving_proto_field_name=True,
                    always_print_fields_with_no_presence=True,
                )
                for name, signature in version.signatures.items()
            }
        return {
            "model_spec": {
                "name": self.config.name,
                "signature_name": "",
                "version": str(number),
            },
            "metadata": {"signature_def": {"signature_def": signatures}},
        }

    def _number(self, match: re.Match[str]) -> int | None:
        """The version that a path names by number or label; None where it names none."""
        if match["model"] != self.config.name:
            raise RestError(404, f"Could not find any versions of model {match['model']}")
        if match["label"] is not None:
            if match["label"] not in self.config.labels:
                raise RestError(400, f"Unrecognized servable version label: {match['label']}")
            return self.config.labels[match["label"]]
        if match["version"] is not None:
            if len(match["version"]) > 18:
                raise RestError(400, f"Failed to convert version: {match['version']} to numeric.")
            return int(match["version"])
        return None

    @contextlib.contextmanager
    def _use(self, match: re.Match[str]) -> Iterator[tuple[int, ServedVersion]]:
        number = self._number(match)
        try:
            found, version = self.versions.acquire(number)
        except KeyError:
            which = "Latest" if number is None else "Specific"
            named = match["model"] if number is None else f"{match['model']}, {number}"
            raise RestError(404, f"Servable not found for request: {which}({named})") from None
        try:
            yield found, version
        finally:
            version.release()


def _what_happened(message: str) -> str:
    """TensorFlow's message without where in the graph and in Python it happened."""
    lines = [line for line in message.split("\n") if line.strip()]
    said = [line for line in lines if not line.startswith(("Graph execution error", "Detected at"))]
    return (said or lines)[0].strip()
