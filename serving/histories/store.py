"""What every store of histories does."""

import abc
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from serving.client.rows import number, text

KEEP = 200
"""Events of a user that are kept, where nobody says how many."""

SAMPLE = 50
"""Events that say in what unit times are: one may have a wrong one."""


class StoreError(Exception):
    """A store cannot be reached, does not answer in time, or is none of ours."""


class Event(NamedTuple):
    """What a user did.

    Attributes:
        item_id: as the log has it.
        timestamp: when, in the unit of the log.
    """

    item_id: str
    timestamp: float


class Histories(abc.ABC):
    """The last events of each user, kept in order; threads may share it.

    Events are ordered by time, and those of one time by the hash that orders them in the log that
    a model is trained on. An event is a user, an item and a time: recorded twice, it is there once,
    so whoever does not know whether it arrived sends it again. What is kept does not depend on the
    order in which events arrive.

    Args:
        keep: events of a user that are kept, the latest ones.
    """

    def __init__(self, keep: int = KEEP):
        if keep < 1:
            raise ValueError(f"keep: expected at least 1 event, received {keep}")
        self.keep = keep

    def record(self, user_id: str | int, item_id: str | int, timestamp: float) -> None:
        """Takes note of one event; the next `latest` has it.

        Args:
            user_id: text, or a whole number.
            item_id: likewise.
            timestamp: when, in the unit of the log.

        Raises:
            StoreError: it may or may not be recorded; do it again.
            TypeError: an id or a time is of a wrong type.
            ValueError: an id is empty or no text that can be written; a time is not finite.
        """
        self.record_many([(user_id, item_id, timestamp)])

    def record_many(self, events: Iterable[tuple[str | int, str | int, float]]) -> None:
        """Takes note of several events, of any users and in any order; raises as `record`."""
        of_users: dict[str, set[Event]] = {}
        for user_id, item_id, timestamp in events:
            event = Event(_id(item_id, "item_id"), number(timestamp, "timestamp") + 0.0)  # no -0
            of_users.setdefault(_id(user_id, "user_id"), set()).add(event)
        if of_users:
            self._add(of_users)

    def latest(self, user_id: str | int, n: int | None = None) -> list[Event]:
        """The last events of a user, oldest first; none of a user who is not known.

        Args:
            user_id: who.
            n: at most so many; None: all that are kept.

        Raises:
            StoreError: the store does not say.
        """
        n = self.keep if n is None else n
        if n < 1:
            raise ValueError(f"n: expected at least 1 event, received {n}")
        return self._latest(_id(user_id, "user_id"), min(n, self.keep))

    def some_times(self) -> list[float]:
        """Times of some events of any users, which say their unit; none where there are none.

        Raises:
            StoreError: the store does not say.
        """
        return []

    @abc.abstractmethod
    def mark(self, name: str) -> int:
        """How far a `fill` of that name has come, as `set_mark` noted; 0 if that is not known."""

    @abc.abstractmethod
    def set_mark(self, name: str, value: int) -> None:
        """Notes it, after all that was recorded before; 0 forgets it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Lets go of files and connections."""

    @abc.abstractmethod
    def _add(self, of_users: dict[str, set[Event]]) -> None:
        """Records events that were checked; of each user at once, with what it pushes out."""

    @abc.abstractmethod
    def _latest(self, user_id: str, n: int) -> list[Event]: ...


def tie(user_id: str, item_id: str) -> bytes:
    """What orders the events of one user and time, 8 bytes.

    The first half of the md5 that `data_prep.pipeline.user_histories.settle_ties` orders by; a test
    holds the two together. (The second half would matter once in 2^64.)
    """
    key = user_id.encode() + b"\x1f" + item_id.encode()
    return hashlib.md5(key, usedforsecurity=False).digest()[:8]


def _id(value: str | int, name: str) -> str:
    found = text(value, name)
    if not found:
        raise ValueError(f"{name}: expected an id, received an empty text")
    found.encode()  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
    return found
