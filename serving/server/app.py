"""The local server as an ASGI application: limits, errors, metrics and the demo page."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.histories import Histories
from serving.server.demo.item_names import ItemNames
from serving.server.demo.page import demo_page, filled
from serving.server.limits import Limits
from serving.server.model_config import ModelConfig
from serving.server.monitoring.metrics import Metrics
from serving.server.predict_json import RestError
from serving.server.request_body import Bodies
from serving.server.rest_api import HISTORIES, RestApi
from serving.server.same_site import JSON, check_same_site
from serving.server.versions import Versions


class ModelServer:
    """Takes requests in and lets a `RestApi` answer them; `app` is what a web server runs.

    Args:
        versions: what is served.
        config: name of the model and labels of versions.
        limits: what it takes on.
        threads: requests that are computed at a time.
        histories: a store that requests may read and write, closed with the server.
        names: what the demo page calls items.
    """

    def __init__(
        self,
        versions: Versions,
        config: ModelConfig,
        limits: Limits | None = None,
        threads: int = 4,
        histories: Histories | None = None,
        names: ItemNames | None = None,
    ):
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self.api = RestApi(versions, config, self.limits, self.metrics.answers, histories)
        self._active = 0
        self._bodies = Bodies(self.limits)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
        self._page, self._names = demo_page(), names
        self.app = Starlette(
            routes=[
                Route("/", self._demo),
                Route("/favicon.ico", lambda request: Response(status_code=204)),  # browsers ask
                Route("/items", self._items),
                Route("/metrics", self._prometheus),
                Route("/{path:path}", self._api, methods=["GET", "POST", "PUT", "DELETE", "PATCH"]),
            ]
        )

    def close(self) -> None:
        """Waits for what is being computed and frees the memory."""
        self._pool.shutdown()
        self.api.versions.close()
        if self.api.histories is not None:
            self.api.histories.close()

    async def _demo(self, request: Request) -> Response:
        has_histories, has_names = self.api.histories is not None, self._names is not None
        return HTMLResponse(filled(self._page, self.api.config.name, has_histories, has_names))

    async def _items(self, request: Request) -> Response:
        """`?q=TEXT`: items with its words in title or id; `?id=A&id=B`: these items."""
        if self._names is None:
            return JSONResponse([])
        text, ids = request.query_params.get("q"), request.query_params.getlist("id")
        look = (self._names.of, ids) if text is None else (self._names.search, text)
        found = await asyncio.get_running_loop().run_in_executor(self._pool, *look)
        return JSONResponse([item._asdict() for item in found])

    async def _prometheus(self, request: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _api(self, request: Request) -> Response:
        start = time.perf_counter()
        headers = {}
        of_histories = request.url.path.startswith(HISTORIES)
        try:
            if request.method == "POST":
                if of_histories:
                    check_same_site(request.headers)
                answer = await self._predict(request)
            else:
                # At once, whatever the load: whoever watches the server is not to wait in a queue.
                answer = self.api.answer(request.method, request.url.path, b"")
            status = 200
        except RestError as error:
            status, answer = error.status, {"error": str(error)}
        except ClientDisconnect:
            status, answer = 400, {"error": "The client closed the connection"}
        except Exception:  # a mistake of ours, and still an answer
            logging.getLogger(__name__).exception("%s %s", request.method, request.url.path)
            status, answer = 500, {"error": "Internal error, see the log of the server"}
        if status in (408, 413):
            headers["Connection"] = "close"  # what is left of the body is not read
        if status == 503:
            headers["Retry-After"] = "1"
        if status == 415:
            headers["Accept-Encoding"] = "gzip"
            if of_histories:
                headers["Accept-Post"] = JSON
        self.metrics.requests.labels(status=status).inc()
        self.metrics.seconds.observe(time.perf_counter() - start)
        return JSONResponse(answer, status, headers)

    async def _predict(self, request: Request) -> Any:
        self._refuse_if_busy()  # before there is a body, which is half of the work
        async with self._bodies.of(request) as body:
            self._refuse_if_busy()
            self._active += 1
            self.metrics.active.set(self._active)
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._pool, self.api.answer, request.method, request.url.path, body
                )
            finally:
                self._active -= 1
                self.metrics.active.set(self._active)

    def _refuse_if_busy(self) -> None:
        if self._active >= self.limits.active:
            raise RestError(503, f"Too many requests at a time, {self.limits.active} at most")
