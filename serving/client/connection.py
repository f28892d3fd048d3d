"""One JSON request and its answer, with retries, all of it by a deadline."""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import requests
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

RETRIED = 429, 502, 503, 504
"""Statuses that say: come again. A prediction changes nothing, so asking twice does no harm."""

_LOST = requests.ConnectionError, requests.exceptions.ChunkedEncodingError


class ServingError(Exception):
    """The server refused, could not be reached, or sent what is no answer.

    Attributes:
        status: HTTP status code; None where there was no answer.
    """

    def __init__(self, status: int | None, message: str):
        super().__init__(message if status is None else f"{status}: {message}")
        self.status = status


class Connection:
    """What requests go by; threads may share it.

    Args:
        timeout: seconds for a request, from the first try to the last byte of the last answer.
        retries: tries after the first, where the connection fails or the server is busy.
        backoff: seconds before the second retry, doubled for each that follows; a server's
            `Retry-After` comes first.
    """

    def __init__(self, timeout: float, retries: int, backoff: float):
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._local = threading.local()  # a session is for one thread

    def call(self, method: str, url: str, request: Any = None) -> Any:
        """The JSON of an answer with status 200.

        Raises:
            ServingError: there is no such answer in time.
        """
        deadline = time.monotonic() + self._timeout
        for tried in range(self._retries + 1):
            # The first retry is at once: most often an old connection was closed.
            pause = self._backoff * 2.0 ** min(tried - 1, 99) if tried else 0.0
            try:
                status, waiting, body = self._exchange(method, url, request, deadline)
            except TimeoutError:
                raise ServingError(None, f"{url}: no answer within {self._timeout:g} s") from None
            except _LOST as error:
                failure = ServingError(None, f"{url}: {error}")
            except (requests.RequestException, HTTPError, UnicodeError) as error:
                raise ServingError(None, f"{url}: {error}") from error
            else:
                if status == 200:
                    return _read(body)
                failure = ServingError(status, _reason(body))
                if status not in RETRIED:
                    raise failure
                pause = pause if waiting is None else waiting
            if tried == self._retries or time.monotonic() + pause >= deadline:
                raise failure
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _exchange(self, method, url, request, deadline):
        """Status, seconds of `Retry-After` or None, and body of one try.

        Raises:
            TimeoutError: the deadline has passed.
        """
        session, opened = self._session(), []
        seconds = max(deadline - time.monotonic(), 0.001)

        def ask():
            # A redirect would begin its time anew, and turn a POST into a GET.
            with session.request(
                method, url, json=request, timeout=seconds, stream=True, allow_redirects=False
            ) as response:
                opened.append(response.raw)
                return response.status_code, _retry_after(response.raw), response.content

        try:
            return within(seconds, ask)
        except (TimeoutError, requests.Timeout):
            raise TimeoutError from None
        except requests.RequestException:
            if time.monotonic() >= deadline:  # a body that stopped is told as a lost connection
                raise TimeoutError from None
            raise
        finally:
            # Whoever left early leaves a thread behind, which has the session and may be reading.
            if not opened or not opened[0].closed:
                del self._local.session
                with contextlib.suppress(Exception):  # urllib3 before 2.3 cannot
                    opened[0].shutdown()

    def _session(self):
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        return self._local.session


def within(seconds: float, ask: Callable[[], Any]) -> Any:
    """What `ask` gives, or TimeoutError.

    In a thread of its own: a socket knows how long it waits for the next byte, and neither for all
    of them nor for the name of a host.
    """
    answer: Future = Future()

    def work():
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, name="ask", daemon=True).start()
    return answer.result(seconds)


def _retry_after(response) -> float | None:
    try:
        return Retry().get_retry_after(response)
    except HTTPError:  # neither seconds nor a date
        return None


def _read(body: bytes) -> Any:
    def refuse(constant):
        raise ValueError(f"{constant} is no number of JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ServingError(
            200, f"expected JSON, received {_text(body)[:200]!r} ({error})"
        ) from None


def _reason(body: bytes) -> str:
    """What a refusal says, whatever it is."""
    text = _text(body)
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(body)
        if isinstance(document, dict) and "error" in document:
            text = str(document["error"])
    return text[:500]


def _text(body: bytes) -> str:
    return body.decode("utf-8", errors="replace")
