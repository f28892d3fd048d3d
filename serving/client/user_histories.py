"""Histories of users from a store that may be slow or away: then there is none, and no error."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from serving.client.connection import within

FAILURES_IN_A_ROW = 3
"""After which the store is left alone for a while; a single slow answer does no harm."""

PAUSE = 1.0
"""Seconds for which it is left alone, and then one request looks whether it is back."""

_log = logging.getLogger("serving.client")


class Store(Protocol):
    """What the client needs of a store; see `serving.histories`."""

    def latest(self, user_id: str) -> Sequence[tuple[str, float]]:
        """Items and times of a user's last events, oldest first."""


class UserHistories:
    """Asks a store, in time; threads may share it.

    Args:
        store: what is asked; None: nobody may ask.
        timeout: seconds for an answer, whatever the store does meanwhile.

    Attributes:
        failures: times that the store was asked and did not answer.
        missed: histories that were asked for and not had, as it did not answer or was left alone.
    """

    def __init__(self, store: Store | None, timeout: float):
        self._store = store
        self._timeout = timeout
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._ask_again = 0.0
        self.failures = 0
        self.missed = 0

    def of(self, user_id: str) -> tuple[list[str], list[float]]:
        """Items of a user and their times, oldest first; none where the store does not say.

        Raises:
            ValueError: there is no store.
        """
        store = self._store
        if store is None:
            raise ValueError("a user id needs a store: Client(url, histories=...)")
        if not self._may_ask():
            return [], []
        try:
            events = within(self._timeout, lambda: list(store.latest(user_id)))
            items, times = [item for item, _ in events], [when for _, when in events]
        except Exception as error:  # whatever a store raises, its user is to be answered
            self._failed(error)
            return [], []
        if self._in_a_row:
            _log.warning("histories: the store answers again")
            self._in_a_row = 0
        return items, times

    def _may_ask(self) -> bool:
        with self._lock:
            if self._in_a_row < FAILURES_IN_A_ROW:
                return True
            now = time.monotonic()
            if now >= self._ask_again:
                self._ask_again = now + PAUSE  # the others need not wait for what this one learns
                return True
            self.missed += 1
            return False

    def _failed(self, error: Exception) -> None:
        with self._lock:
            self.failures += 1
            self.missed += 1
            self._in_a_row += 1
            self._ask_again = time.monotonic() + PAUSE
        said = f"no answer within {self._timeout:g} s" if type(error) is TimeoutError else error
        _log.warning("histories: %s; answered without", said or repr(error))
