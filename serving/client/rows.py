"""What is asked, as lists of plain values that JSON has."""

import math
from collections.abc import Callable, Iterable, Mapping, Set
from numbers import Integral, Number, Real
from typing import Any


def histories_of(histories: Any) -> list[list[str]]:
    """A copy of each history.

    Raises:
        ValueError: they are no lists of lists. A text would be taken to pieces, a mapping be its
            keys, and one history of n items be n histories.
        TypeError: an item id is neither text nor a whole number.
    """
    rows = [histories] if _is_no_list(histories) else list(histories)
    for row in rows:
        if _is_no_list(row):
            raise ValueError(
                f"histories: expected lists of item ids, received {row!r:.80} (one history is a "
                "list in a list, [[...]])"
            )
    return [[text(item, "histories") for item in row] for row in rows]


def times_of(timestamps: Any, histories: list[list[str]]) -> list[list[float]]:
    """A copy of the times of each history.

    Raises:
        ValueError: they are no lists of lists, or not one time an item, or not finite.
        TypeError: a time is no number.
    """
    rows = [timestamps] if _is_no_list(timestamps) else list(timestamps)
    if len(rows) != len(histories):
        raise ValueError(f"timestamps: {len(histories)} histories, received {len(rows)}")
    found = []
    for row, history in zip(rows, histories, strict=True):
        times = None if _is_no_list(row) else [number(time, "timestamps") for time in row]
        if times is None or len(times) != len(history):
            raise ValueError(
                f"timestamps: expected a list of {len(history)} times, one an item, received "
                f"{row!r:.80}"
            )
        found.append(times)
    return found


def lists_of(ids: Any, count: int, name: str) -> list[list[str]]:
    """A copy of the lists of item ids of each of `count` histories, where one may stand for all.

    Empty ids are left out: on the wire they fill places.

    Raises:
        ValueError: there are more lists, or fewer.
        TypeError: they are no lists, or have members that are no item ids.
    """
    if _is_no_list(ids):
        raise TypeError(f"{name}: expected a list of item ids, received {ids!r:.80}")
    rows = list(ids)
    if all(isinstance(_plain(row), str | Number) for row in rows):
        return [_ids(rows, name)] * count
    if len(rows) != count:
        raise ValueError(f"{name}: {count} histories, received {len(rows)}")
    return [_ids(row, name) for row in rows]


def _ids(row: Iterable, name: str) -> list[str]:
    return [item for item in (text(item, name) for item in row) if item]


def for_each(value: Any, count: int, name: str, read: Callable[[Any, str], Any]) -> list:
    """A value for each of `count` histories, where one may stand for all.

    Raises:
        ValueError: there are more, or fewer.
        TypeError: `read` refuses one.
    """
    if isinstance(_plain(value), str | Number):
        return [read(value, name)] * count
    if _is_no_list(value):
        raise TypeError(f"{name}: expected one value or a list of them, received {value!r:.80}")
    values = [read(each, name) for each in value]
    if len(values) != count:
        raise ValueError(f"{name}: {count} histories, received {len(values)}")
    return values


def text(value: Any, name: str) -> str:
    """An id: text as it is, a whole number by its decimal digits."""
    value = _plain(value)
    if isinstance(value, str):
        return str(value)
    if not isinstance(value, bool) and isinstance(value, Integral):
        return str(int(value))
    raise TypeError(f"{name}: expected text or whole numbers, received {value!r:.80}")


def whole(value: Any, name: str) -> int:
    """A whole number."""
    value = _plain(value)
    if not isinstance(value, bool) and isinstance(value, Integral):
        return int(value)
    raise TypeError(f"{name}: expected whole numbers, received {value!r:.80}")


def number(value: Any, name: str) -> float:
    """A finite number."""
    if type(value) is float and math.isfinite(value):  # nearly always
        return value
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected numbers, received {value!r:.80}")
    try:
        found = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name}: expected finite numbers, received {value!r:.80}")
    return found


def flag(value: Any, name: str) -> bool:
    """True or False."""
    value = _plain(value)
    if isinstance(value, bool):
        return value
    raise TypeError(f"{name}: expected True or False, received {value!r:.80}")


def _plain(value: Any) -> Any:
    """A scalar of numpy as Python has it, without importing numpy."""
    is_scalar = hasattr(value, "dtype") and getattr(value, "shape", None) == ()
    return value.item() if is_scalar and hasattr(value, "item") else value


def _is_no_list(value: Any) -> bool:
    """Whether a value has no members, none that are meant, or none in an order."""
    value = _plain(value)
    return isinstance(value, str | bytes | bytearray | Mapping | Set) or not isinstance(
        value, Iterable
    )
