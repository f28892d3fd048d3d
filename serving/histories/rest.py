"""Histories as the local server gives and takes them: JSON in, JSON out.

`:latest` of `{"user_id": "u17"}` is `{"items": [...], "timestamps": [...]}`, oldest first, of at
most `n` events where that is given. `:record` of `{"user_id": "u17", "item_id": "b03"}` takes note
of an event, now or at its `timestamp`, and answers when that was. "Now" is in the unit of the times
that are in the store.
"""

import statistics
import time
from typing import Any

from data_prep.pipeline.times import per_second
from serving.client.rows import whole
from serving.histories.store import Histories

TAKES = {
    "latest": ({"user_id"}, {"n"}),
    "record": ({"user_id", "item_id"}, {"timestamp"}),
}
"""Names that a request of each method has to have, and names that it may have."""


def answer(histories: Histories, method: str, document: dict[str, Any]) -> dict[str, Any]:
    """Answers one request.

    Args:
        histories: the store.
        method: one of `TAKES`.
        document: of the request.

    Raises:
        ValueError: names or values of the request are wrong.
        TypeError: likewise.
        StoreError: the store does not answer.
    """
    required, optional = TAKES[method]
    if missing := required - document.keys():
        raise ValueError(f"missing: {', '.join(sorted(missing))}")
    if unknown := document.keys() - required - optional:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}"[:200])
    user = document["user_id"]
    if method == "latest":
        n = whole(document["n"], "n") if "n" in document else None
        events = histories.latest(user, n)
        return {
            "items": [event.item_id for event in events],
            "timestamps": [event.timestamp for event in events],
        }
    when = document["timestamp"] if "timestamp" in document else now_for(histories, user)
    histories.record(user, document["item_id"], when)
    return {"timestamp": when}


def now_for(histories: Histories, user_id: str | int) -> float:
    """The time, in the unit of a user's latest event; of other users' where there is none.

    Raises:
        ValueError: the store is empty, so that nobody knows the unit of its times. Of a wrong one
            the event would be the first of all for ever, or the last.
        StoreError: the store does not answer.
    """
    times = [event.timestamp for event in histories.latest(user_id, 1)] or histories.some_times()
    if not times:
        raise ValueError(
            "timestamp: the store is empty, so that the unit of its times is unknown; fill it, or "
            "pass a timestamp"
        )
    return time.time() * per_second(statistics.median(times))
