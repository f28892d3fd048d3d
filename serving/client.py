"""Asks TensorFlow Serving, or the local server, for recommendations.

Needs `requests` and nothing else of this project, TensorFlow neither.

    client = Client("http://127.0.0.1:8501")
    for answer in client.recommend([["B0001", "B0002"], []], "Books"):
        print(answer.items, answer.scores, answer.fallback)
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

RETRIED = 429, 502, 503, 504
"""Statuses that say: come again. A prediction changes nothing, so asking twice does no harm."""


DEFAULT_K = 10


class ServingError(Exception):
    """The server refused, or could not be reached.

    Attributes:
        status: HTTP status code; None where there was no answer.
    """

    def __init__(self, status: int | None, message: str):
        super().__init__(message if status is None else f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What one user gets.

    Attributes:
        items: raw ids, best first; fewer than asked for where a domain has no more.
        scores: of the items.
        domains: of the items.
        known_items: items of the history that the model knows.
        fallback: whether popularity answered, as it knows none of them (BPRMF: not the user).
    """

    items: list[str]
    scores: list[float]
    domains: list[str]
    known_items: int
    fallback: bool


class Client:
    """A connection to one model; threads may share it.

    Args:
        url: of the REST port, e.g. `http://127.0.0.1:8501`.
        model: its name on the server.
        version: a version of it; the newest where neither this nor a label is given.
        label: a version by its label.
        batch_size: most rows of a request. A server has limits on its own.
        timeout: seconds to wait for a connection, and for an answer.
        retries: tries after the first, where the connection fails or the server is busy.
        backoff: seconds before the second retry, doubled for each that follows; a server's
            `Retry-After` comes first.
    """

    def __init__(
        self,
        url: str,
        model: str = "syncrec",
        version: int | None = None,
        label: str | None = None,
        batch_size: int = 64,
        timeout: float = 10.0,
        retries: int = 3,
        backoff: float = 0.1,
    ):
        if version is not None and label is not None:
            raise ValueError(f"A version or a label, not both. Received: {version=}, {label=}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
        path = f"/v1/models/{quote(model, safe='')}"
        if version is not None:
            path += f"/versions/{version}"
        if label is not None:
            path += f"/labels/{quote(label, safe='')}"
        self._model_url = url.rstrip("/") + path
        self._batch_size = batch_size
        self._timeout = timeout
        self._retry = Retry(
            retries,
            status_forcelist=RETRIED,
            allowed_methods=None,  # POST as well
            backoff_factor=backoff,
            raise_on_status=False,
        )
        self._local = threading.local()  # a session is for one thread

    def recommend(
        self,
        histories: Iterable[Sequence[str]],
        domains: str | Iterable[str] | None = None,
        k: int | Iterable[int] | None = None,
        exclude_seen: bool | Iterable[bool] | None = None,
        user_ids: Iterable[str] | None = None,
    ) -> list[Answer]:
        """Top items for each history.

        Args:
            histories: raw item ids of each user, oldest first; unknown ones do no harm.
            domains: the domain to recommend in, for all or for each; None or `""`: all together.
            k: answers wanted, for all or for each. Where neither this nor the next is given, as
                many as was set at export; where only the next is, 10.
            exclude_seen: whether items of the history may not come back; they may not by default.
            user_ids: who each history is of, for a model that is asked by them (BPRMF).

        Raises:
            ServingError: a request was refused, or not answered after all retries.
            ValueError: histories that are no lists, or lists of unequal length.
        """
        rows: dict[str, list] = {"items": _lists(histories)}
        count = len(rows["items"])
        rows["domain"] = _for_each("" if domains is None else domains, count, "domains", str)
        if user_ids is not None:
            rows["user_id"] = _for_each(user_ids, count, "user_ids", str)
        signature = "serving_default"
        if k is not None or exclude_seen is not None:
            signature = "with_options"
            rows["k"] = _for_each(DEFAULT_K if k is None else k, count, "k", int)
            seen = True if exclude_seen is None else exclude_seen
            rows["exclude_seen"] = _for_each(seen, count, "exclude_seen", bool)
        answers: list[Answer] = []
        for outputs in self._batches(signature, rows):
            answers += map(_answer, *(outputs[name] for name in Answer.__annotations__))
        return answers

    def explain(self, histories: Iterable[Sequence[str]]) -> list[dict[str, Any]]:
        """λ and gate weights behind the answers to each history, as `Recommender.explain` says."""
        rows = {"items": _lists(histories)}
        return [
            dict(zip(outputs, row, strict=True))
            for outputs in self._batches("explain", rows)
            for row in zip(*outputs.values(), strict=True)
        ]

    def status(self) -> list[dict[str, Any]]:
        """State of each version, as the server's status API has it."""
        return self._call("GET", self._model_url)["model_version_status"]

    def _batches(self, signature: str, rows: dict[str, list]) -> Iterator[dict[str, list]]:
        """Columns of outputs, a batch at a time."""
        for start in range(0, len(rows["items"]), self._batch_size):
            inputs = {name: rows[name][start : start + self._batch_size] for name in rows}
            # TensorFlow Serving wants lists of one length, and at least one column.
            width = max(1, *map(len, inputs["items"]))
            inputs["items"] = [row + [""] * (width - len(row)) for row in inputs["items"]]
            request = {"signature_name": signature, "inputs": inputs}
            yield self._call("POST", self._model_url + ":predict", request)["outputs"]

    def _call(self, method, url, request=None):
        try:
            response = self._session().request(method, url, json=request, timeout=self._timeout)
        except requests.RequestException as error:
            raise ServingError(None, f"{url}: {error}") from error
        try:
            answer = response.json()
        except ValueError:
            answer = {"error": response.text[:500]}
        if response.status_code != 200:
            raise ServingError(response.status_code, str(answer.get("error", answer)))
        return answer

    def _session(self):
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            for scheme in ("http://", "https://"):
                self._local.session.mount(scheme, HTTPAdapter(max_retries=self._retry))
        return self._local.session


def _lists(histories):
    """A copy of each history; a str would be taken to pieces, and a dict be its users."""
    rows = [histories] if isinstance(histories, str | Mapping) else list(histories)
    for row in rows:
        if isinstance(row, str | Mapping):
            raise ValueError(f"histories: expected lists of item ids, received {row!r:.80}")
    return [list(row) for row in rows]


def _for_each(value, count, name, kind):
    """One value for all, or a value for each of them."""
    if isinstance(value, kind):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ValueError(f"{name}: {count} histories, received {len(values)}")
    return values


def _answer(items, scores, domains, known_items, fallback):
    # Places that no item fills come last, as "".
    filled = sum(1 for item in items if item)
    return Answer(items[:filled], scores[:filled], domains[:filled], known_items, bool(fallback))
