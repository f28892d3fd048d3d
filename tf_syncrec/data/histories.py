"""Histories that somebody asks with, and when they were: by user, and checked."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep import InputError

if TYPE_CHECKING:
    import pandas as pd

Histories = Mapping[str, Sequence[str]] | Sequence[Sequence[str]]
Timestamps = Mapping[str, Sequence[float]] | Sequence[Sequence[float]]


def users_of(histories: "Histories | pd.DataFrame") -> dict[Any, Sequence[str]]:
    """Histories by user.

    Raises:
        InputError: they are no lists of items.
    """
    import pandas as pd

    if isinstance(histories, pd.DataFrame):
        missing = {"user_id", "item_id"} - set(histories.columns)
        if missing:
            raise InputError(
                f"histories: expected the columns user_id and item_id, received "
                f"{', '.join(map(str, histories.columns))}"
            )
        groups = histories.groupby("user_id", sort=False)["item_id"]
        return {user: items.tolist() for user, items in groups}
    if not isinstance(histories, Mapping):
        if isinstance(histories, str) or not isinstance(histories, Iterable):
            raise InputError(
                f"histories: expected lists of item ids by user, received {histories!r}"
            )
        histories = dict(enumerate(histories))
    for user, items in histories.items():
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise InputError(
                f"histories: expected a list of item ids for user {user!r}, received {items!r}"
            )
    return dict(histories)


def times_of(
    users: dict[Any, Sequence[str]],
    histories: "Histories | pd.DataFrame",
    timestamps: "Timestamps | None",
    now: float | Sequence[float] | None,
) -> tuple[list[np.ndarray], np.ndarray] | None:
    """When the items of each user were, and when each asks; None where nobody says anything.

    Raises:
        InputError: they are not a finite number for each item, and for each user.
    """
    import pandas as pd

    found: Any = timestamps
    if isinstance(histories, pd.DataFrame) and timestamps is None and "timestamp" in histories:
        found = {
            user: _in_units(times) for user, times in histories.groupby("user_id")["timestamp"]
        }
    if found is None:
        if now is not None:
            raise InputError("now: say by timestamps, too, when the items were")
        return None
    if not isinstance(found, Mapping):
        given = list(found) if isinstance(found, Iterable) else [found]
        if len(given) != len(users):
            raise InputError(f"timestamps: expected {len(users)} lists, received {len(given)}")
        found = dict(zip(users, given, strict=True))
    rows = []
    for user, items in users.items():
        times = _numbers(found.get(user, ()), f"timestamps of user {user!r}")
        if len(times) != len(items):
            raise InputError(
                f"timestamps: expected {len(items)} of user {user!r}, received {len(times)}"
            )
        rows.append(times)
    asked = _numbers([0.0] if now is None else np.ravel(now), "now")
    if len(asked) not in (1, len(rows)):
        raise InputError(f"now: expected one time, or {len(rows)}, received {len(asked)}")
    return rows, np.resize(asked, len(rows))


def _in_units(times: "pd.Series") -> list[float]:
    """Numbers as they are; dates and times, or what reads as such, in seconds since 1970."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(times):
        return times.tolist()
    try:
        dates = pd.to_datetime(times, utc=True, format="ISO8601")
    except (ValueError, TypeError):
        raise InputError(
            f"timestamps: expected numbers, or dates and times by ISO 8601, received "
            f"{times.iloc[0]!r:.80}"
        ) from None
    return ((dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).tolist()


def _numbers(values: Any, name: str) -> np.ndarray:
    """Finite numbers, `[any]` float64."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise InputError(f"{name}: expected finite numbers, received {values!r:.100}")
    return found
