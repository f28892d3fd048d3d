"""Histories in Redis: one store for many machines."""

import contextlib
import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.histories.store import KEEP, SAMPLE, Event, Histories, StoreError, tie

EXPIRE_DAYS = 90.0
"""After so many days without an event a user is forgotten, where nobody says how many."""

USERS_AT_ONCE = 100
"""Whose events are one transaction: Redis does nothing else meanwhile."""

_DAY = 86_400
_MARK_DAYS = 30


class RedisHistories(Histories):
    """Histories in one sorted set a user, `PREFIX:user:ID`, with the time as score.

    A member is 8 bytes of the hash that orders ties (Redis orders those of one score by their
    bytes), the time as 8 bytes, and the item, so that an item of two times is two members and the
    same event twice is one. It is added, the set trimmed and its expiry set in one transaction.

    Nothing is asked before it is needed: it can be opened while Redis is away.

    Args:
        address: `redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS, or
            `unix://`; options of redis-py after `?`.
        keep: events of a user that are kept.
        expire_days: without an event, after which a user is forgotten.
        timeout: seconds to connect, and to wait for an answer.
        prefix: of the keys.

    Raises:
        ValueError: what was given cannot be used.
    """

    def __init__(
        self,
        address: str,
        keep: int = KEEP,
        expire_days: float = EXPIRE_DAYS,
        timeout: float = 1.0,
        prefix: str = "syncrec",
    ):
        super().__init__(keep)
        if not 0 < expire_days < math.inf:
            raise ValueError(f"expire_days: expected a number above 0, received {expire_days}")
        self._expiry = max(1, round(expire_days * _DAY))
        self._prefix = prefix
        self._redis: Any = redis.Redis.from_url(
            address,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # At once and once more: most often Redis was started anew, and the connection is old.
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),
        )
        place = self._redis.connection_pool.connection_kwargs  # the address may hold a password
        self._name = place.get("path") or f"{place.get('host')}:{place.get('port', 6379)}"

    def close(self) -> None:
        """See base class."""
        self._redis.close()

    def mark(self, name: str) -> int:
        """See base class."""
        with self._errors():
            return int(self._redis.get(f"{self._prefix}:mark:{name}") or 0)

    def set_mark(self, name: str, value: int) -> None:
        """See base class."""
        key = f"{self._prefix}:mark:{name}"
        with self._errors():
            if value:
                self._redis.set(key, value, ex=_MARK_DAYS * _DAY)
            else:
                self._redis.delete(key)

    def _add(self, of_users: dict[str, set[Event]]) -> None:
        users = iter(of_users.items())
        with self._errors():
            while some := list(itertools.islice(users, USERS_AT_ONCE)):
                with self._redis.pipeline(transaction=True) as pipeline:
                    for user, events in some:
                        key = self._key(user)
                        pipeline.zadd(key, {_member(user, e): e.timestamp for e in events})
                        pipeline.zremrangebyrank(key, 0, -self.keep - 1)
                        pipeline.expire(key, self._expiry)
                    pipeline.execute()

    def _latest(self, user_id: str, n: int) -> list[Event]:
        with self._errors():
            members = self._redis.zrange(self._key(user_id), -n, -1)
        return [
            Event(member[16:].decode(), *struct.unpack(">d", member[8:16])) for member in members
        ]

    def some_times(self) -> list[float]:
        """See base class."""
        with self._errors():
            keys = self._redis.scan_iter(match=self._key("*"), count=1_000)
            with self._redis.pipeline(transaction=False) as pipeline:
                for key in itertools.islice(keys, SAMPLE):
                    pipeline.zrange(key, -1, -1, withscores=True)
                return [time for found in pipeline.execute() for _, time in found]

    def _key(self, user_id: str) -> str:
        return f"{self._prefix}:user:{user_id}"

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise StoreError(f"Redis at {self._name}: {error}") from error


def _member(user_id: str, event: Event) -> bytes:
    hashed = tie(user_id, event.item_id)
    return hashed + struct.pack(">d", event.timestamp) + event.item_id.encode()
