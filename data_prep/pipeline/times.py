"""When things happened in a log: days, gaps, and a sample of users; what two data cards compare."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.pipeline import user_histories
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from data_prep.pipeline.sequences import Sequences
    from data_prep.pipeline.user_histories import Histories

UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (np.inf, 1e9))
"""What times are below, and how many of their unit a second has: by their size they are in s, ms,
µs or ns, true from 1973 to 5138, as `layers.RepeatConsumption` takes them."""

DAY = 86_400.0
MOST_DAYS = 1_000
"""Days with events, the newest of each domain, that are counted one by one."""

SAMPLE = 1_000
"""Users of the sample."""

_FINE = 8  # Classes of gaps in an octave.
_LOWEST = -30 * _FINE  # A nanosecond.
_ROLES = {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def per_second(time: float) -> float:
    """How many units of a log a second has, by the size of one of its times."""
    return next(units for below, units in UNITS if abs(time) < below)


def time_profile(sequences: Sequences) -> dict[str, Any]:
    """Counts what was kept by its time.

    Args:
      sequences: the result of the pipeline, whose file is there.

    Returns:
      Plain JSON values:

      - `per_second`: units of the log's times in a second, by the size of the median of the first
        users, so that a few wrong clocks do not decide it
      - `oldest`, `newest`: in the unit of the log
      - `newest_by_split`: newest event that trains, newest target of validation and of test, None
        where there is none
      - `median_gap`: seconds from one event of a user to the next, of those above 0, within 5 %;
        None where all are 0
      - `tied_share`: part of the events after a user's first that are of the time of the one before
      - `days`: domain → day since 1970 (UTC; text, as JSON wants keys) → events, of the newest
        `MOST_DAYS` days that have some
      - `users`: the `SAMPLE` users whose md5 is the lowest: the first 16 of its hexadecimal digits,
        ascending. Of any two logs the same users are drawn, so that they can be compared.
    """
    counted = _Counted(len(sequences.catalogue.domains))
    for some in user_histories.read(sequences.path):
        domains = sequences.item_domains[some.items]
        counted.add(some, domains, sequences.assign(some), sequences.ticks)
    return counted.told(sequences.catalogue.domains)


def events_by_day(times: Mapping[str, Any], domain: str = "") -> dict[int, int]:
    """Events by day since 1970, of a `time_profile`.

    Args:
      times: the profile.
      domain: of which domain; "": of all together.
    """
    found: collections.Counter[int] = collections.Counter()
    for name, days in times["days"].items():
        if domain in ("", name):
            found.update({int(day): events for day, events in days.items()})
    return dict(found)


class _Counted:
    """What `time_profile` counts, users after users."""

    def __init__(self, domains: int):
        self._units = 0.0  # Not known yet.
        self._oldest, self._newest = np.inf, -np.inf
        self._by_role = dict.fromkeys(_ROLES, -np.inf)
        self._gaps: collections.Counter[int] = collections.Counter()
        self._later = self._tied = 0
        self._days: list[collections.Counter[int]] = [collections.Counter() for _ in range(domains)]
        self._users: list[str] = []

    def add(self, some: Histories, domains: np.ndarray, roles: np.ndarray, ticks: int) -> None:
        """Counts whole users.

        Args:
          some: the users; those of lower md5 come first.
          domains: `[events]`, index of the item's domain.
          roles: `[events]`, see `splits`.
          ticks: units of the timestamps in one of the log.
        """
        times = some.timestamps.astype(np.float64) / ticks
        self._units = self._units or per_second(float(np.median(times)))
        self._oldest = min(self._oldest, float(times.min()))
        self._newest = max(self._newest, float(times.max()))
        for name, role in _ROLES.items():
            newest = times[roles == role].max(initial=-np.inf)
            self._by_role[name] = max(self._by_role[name], float(newest))
        # Differences before the division: of nanoseconds a float has not all digits.
        gaps = np.diff(some.timestamps)[np.diff(some.owners) == 0] / (ticks * self._units)
        self._later += len(gaps)
        self._tied += int(np.count_nonzero(gaps == 0))
        classes = np.round(_FINE * np.log2(gaps[gaps > 0])).astype(np.int64)
        _count(self._gaps, np.maximum(classes, _LOWEST))
        days = np.floor(times / (self._units * DAY)).astype(np.int64)
        for domain, counter in enumerate(self._days):
            _count(counter, days[domains == domain])
        for user in some.user_ids[: SAMPLE - len(self._users)].to_pylist():
            self._users.append(hashlib.md5(user.encode()).hexdigest()[:16])

    def told(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The profile."""
        newest = {name: None if at == -np.inf else at for name, at in self._by_role.items()}
        of_domains = (sorted(days.items())[-MOST_DAYS:] for days in self._days)
        return {
            "per_second": self._units,
            "oldest": self._oldest,
            "newest": self._newest,
            "newest_by_split": newest,
            "median_gap": self._median_gap(),
            "tied_share": self._tied / max(self._later, 1),
            "days": {
                name: {str(day): events for day, events in days}
                for name, days in zip(names, of_domains, strict=True)
            },
            "users": self._users,
        }

    def _median_gap(self) -> float | None:
        if not self._gaps:
            return None
        classes, counts = np.array(sorted(self._gaps.items())).T
        middle = np.searchsorted(counts.cumsum(), (counts.sum() + 1) // 2)
        return float(2.0 ** (classes[middle] / _FINE))


def _count(counter: collections.Counter[int], values: np.ndarray) -> None:
    found, numbers = np.unique(values, return_counts=True)
    counter.update(dict(zip(found.tolist(), numbers.tolist(), strict=True)))
