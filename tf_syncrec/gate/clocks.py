"""When things happened in two logs: wrong clocks, missing days, feeds that have stopped."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from data_prep.pipeline.times import DAY, events_by_day
from tf_syncrec.gate.checks import Check
from tf_syncrec.gate.limits import DataLimits

USUAL_DAYS = 28
"""Days before the end of the current log that say what is usual: four of each weekday."""

LEAST_NEW_DAYS = 0.5
"""Days that a log has to be newer, so that new rows a day can be told: of an hour they cannot."""

CERTAIN = 4.0
"""Standard deviations (of Poisson counts) by which new rows have to be few or many."""

_UNIT_NAMES = {1.0: "s", 1e3: "ms", 1e6: "µs", 1e9: "ns"}


def compare_times(
    before: Mapping[str, Any], after: Mapping[str, Any], limits: DataLimits, now: float
) -> Iterator[Check]:
    """Clocks: their unit and end, what is still to come, and how fast row follows row.

    Args:
        before: data card of the current log, with times.
        after: of the candidate's.
        limits: how far a thing may move.
        now: seconds since 1970.
    """
    olds, news = before["times"], after["times"]
    units = [_UNIT_NAMES[times["per_second"]] for times in (olds, news)]
    yield Check("unit of times", "text", units[0], units[1], "the same", units[0] != units[1])
    today = int(now // DAY)
    ends = [newest_row(times, today) for times in (olds, news)]
    yield Check("newest row", "time", ends[0], ends[1], "not older", ends[1] < ends[0])
    to_come = [
        sum(events for day, events in events_by_day(card["times"]).items() if day > today)
        / max(card["rows"]["kept"], 1)
        for card in (before, after)
    ]
    most = f"at most {100 * limits.future_rows:g} %"
    yield Check(
        "rows with future dates",
        "share",
        to_come[0],
        to_come[1],
        most,
        to_come[1] > limits.future_rows,
    )
    gaps, factor = (olds["median_gap"], news["median_gap"]), limits.gap_factor
    if all(gaps):
        said = f"{1 / factor:.3g} to {factor:g} times"
        within = 1 / factor <= gaps[1] / gaps[0] <= factor
        yield Check("median time between rows of a user", "seconds", *gaps, said, not within)
    ties = olds["tied_share"], news["tied_share"]
    more = ties[1] > ties[0] + limits.tied_rows
    said = f"+{100 * limits.tied_rows:g} points"
    yield Check("rows with the timestamp of the row before", "share", *ties, said, more)
    yield from _daily(olds, news, limits, today)
    yield from _ends(olds, news, limits, today)


def _daily(before, after, limits: DataLimits, today: int) -> Iterator[Check]:
    """The days that are usual, and what came after: one bad day is lost in the sum of all."""
    ends = [newest_row(times, today) for times in (before, after)]
    last, elapsed = int(ends[0] // DAY), (ends[1] - ends[0]) / DAY
    first = max(min(events_by_day(before), default=last), last - USUAL_DAYS + 1)
    for domain in ("", *(name for name in before["days"] if name in after["days"])):
        old, new = events_by_day(before, domain), events_by_day(after, domain)
        # The last day may have gone on after the end of the log.
        whole = [sum(days.get(day, 0) for day in range(first, last)) for days in (old, new)]
        yield Check(
            f"rows of the current log's last {last - first} whole days",
            "count",
            whole[0],
            whole[1],
            f"−{100 * limits.fewer:g} %",
            whole[1] < whole[0] * (1 - limits.fewer),
            domain,
        )
        span = max(ends[0] / DAY - first, LEAST_NEW_DAYS)
        usual = sum(old.get(day, 0) for day in range(first, last + 1)) / span
        if elapsed < LEAST_NEW_DAYS or not usual:
            continue
        added = sum(events for day, events in new.items() if last <= day <= today)
        added = max(added - old.get(last, 0), 0)  # less where rows of that day are missing
        expected, least = usual * elapsed, limits.daily_rows
        beyond = added < least * expected or added * least > expected
        # Of a domain with ten rows a day half may be missing by chance: four deviations of a count.
        certain = abs(added - expected) > CERTAIN * math.sqrt(expected)
        upto = f" to {1 / least:.3g}" if least else " or more"
        rates = round(usual, 1), round(added / elapsed, 1)
        yield Check(
            "new rows a day", "count", *rates, f"{least:g}{upto} times", beyond and certain, domain
        )


def _ends(before, after, limits: DataLimits, today: int) -> Iterator[Check]:
    """Days between the last row of a domain and that of the log: a feed that has stopped.

    Rows of days to come are of a wrong clock: one of them would be the end of all.
    """

    def lags(times):
        past = {
            name: [day for day in events_by_day(times, name) if day <= today]
            for name in times["days"]
        }
        last = {name: max(days) for name, days in past.items() if days}
        return {name: max(last.values()) - day for name, day in last.items()}

    old, new = lags(before), lags(after)
    for domain in old.keys() & new.keys():
        days = old[domain], new[domain]
        late = days[1] > days[0] + limits.days_late
        said = f"+{limits.days_late:g}"
        yield Check("days from its last row to the log's", "count", *days, said, late, domain)


def newest_row(times: Mapping[str, Any], today: int) -> float:
    """The newest row in seconds, of those that are not of days to come.

    Args:
        times: of a data card.
        today: day since 1970. Where the card has later ones, the end of the last day up to it.
    """
    past = [day for day in events_by_day(times) if day <= today]
    return min(times["newest"] / times["per_second"], (max(past, default=0) + 1) * DAY)
