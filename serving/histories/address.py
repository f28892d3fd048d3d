"""Opens a store by its address."""

import re

from serving.histories.store import KEEP, Histories

ADDRESSES = "a path, sqlite:///PATH, redis://HOST:PORT/DATABASE, rediss:// or unix://"


def open_histories(
    address: str, keep: int = KEEP, expire_days: float | None = None, timeout: float = 1.0
) -> Histories:
    """A store of histories.

    Args:
        address: a path or `sqlite:///PATH` (of a relative path; an absolute one has a fourth
            slash) for SQLite, `redis://HOST:PORT/DATABASE`, `rediss://` or `unix://` for Redis.
        keep: events of a user that are kept, the latest ones. Whoever writes trims, so it is the
            same for all who write to one store.
        expire_days: of Redis: days without an event, after which a user is forgotten; by default
            90. SQLite forgets nobody.
        timeout: seconds; of Redis to connect and for an answer, of SQLite for the other writers.

    Raises:
        ValueError: there is no such kind of store, redis-py is not installed, or an option has a
            value that makes no sense.
        StoreError: the SQLite file cannot be opened. Redis is not asked before it is needed.
    """
    scheme = re.match(r"([A-Za-z][\w+.-]*):/", address)
    if scheme is None or scheme[1].lower() == "sqlite":
        from serving.histories.sqlite import SQLiteHistories

        if expire_days is not None:
            raise ValueError("expire_days: is for Redis; histories in SQLite do not expire")
        path = address
        if scheme is not None:
            found = re.fullmatch(r"sqlite:///(.+)", address, re.IGNORECASE | re.DOTALL)
            if found is None:
                raise ValueError(f"{address}: expected sqlite:///PATH, with three slashes")
            path = found[1]
        if not path:
            raise ValueError(f"expected {ADDRESSES}, received an empty text")
        return SQLiteHistories(path, keep, timeout)
    if scheme[1].lower() not in ("redis", "rediss", "unix"):
        raise ValueError(f"{scheme[1]}:// is no kind of store; expected {ADDRESSES}")
    try:
        from serving.histories.redis import EXPIRE_DAYS, RedisHistories
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ValueError(
            'redis-py is not installed; pip install redis installs it, as does "tf_syncrec[redis]"'
        ) from None
    days = EXPIRE_DAYS if expire_days is None else expire_days
    return RedisHistories(address, keep, days, timeout)
