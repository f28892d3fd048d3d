"""New rows a day, feeds that stop, and rows that vanish, on cards made up by hand."""

import pytest

from tests.gate.conftest import DAY
from tf_syncrec.gate.clocks import compare_times
from tf_syncrec.gate.limits import DataLimits

LAST = 19_000
"""The last day of the current log, which ends with it."""


def card(days, last=LAST):
    """A data card of rows by domain and day."""
    times = {
        "per_second": 1.0,
        "newest": (last + 1) * DAY - 1.0,
        "median_gap": 3600.0,
        "tied_share": 0.0,
        "days": {name: {str(day): n for day, n in of.items()} for name, of in days.items()},
    }
    return {"times": times, "rows": {"kept": sum(sum(of.values()) for of in days.values())}}


def usual(rows=100, days=40):
    return {LAST - n: rows for n in range(days)}


def moved(before, after, limits=DataLimits()):  # noqa: B008
    checks = compare_times(before, after, limits, (LAST + 10) * DAY)
    return {(check.what.split(" last")[0], check.domain) for check in checks if check.moved}


@pytest.mark.parametrize(("rows", "bad"), [(49, True), (51, False), (199, False), (201, True)])
def test_half_of_a_night_is_seen_however_long_the_log(rows, bad):
    for days in (3, 40, 900):
        before = card({"a": usual(days=days), "b": usual(10_000, days)})
        after = card(
            {
                "a": usual(days=days) | {LAST + 1: rows},
                "b": usual(10_000, days) | {LAST + 1: 10_000},
            },
            LAST + 1,
        )
        assert moved(before, after) == ({("new rows a day", "a")} if bad else set())


def test_a_small_domain_may_have_few_by_chance():
    before = card({"a": usual(10), "b": usual(1000)})
    for rows, bad in ((4, False), (0, False)):
        after = card(
            {"a": usual(10) | {LAST + 1: rows}, "b": usual(1000) | {LAST + 1: 1000}}, LAST + 1
        )
        assert bool(moved(before, after)) == bad
    week = {LAST + n: 1000 for n in range(1, 8)}
    after = card({"a": usual(10) | {LAST + 7: 1}, "b": usual(1000) | week}, LAST + 7)
    assert moved(before, after) == {("new rows a day", "a")}


def test_several_nights_at_once_are_told_by_the_day():
    before = card({"a": usual(), "b": usual()})
    week = {LAST + n: 100 for n in range(1, 8)}
    assert moved(before, card({"a": usual() | week, "b": usual() | week}, LAST + 7)) == set()


def test_rows_that_have_gone_from_the_past():
    before = card({"a": usual(), "b": usual()})
    lost = usual() | {LAST - n: 70 for n in range(28)}
    what = "rows of the current log's"
    assert moved(before, card({"a": lost, "b": usual()})) == {(what, "a")}
    assert moved(before, card({"a": lost, "b": lost})) == {(what, ""), (what, "a"), (what, "b")}
    assert moved(before, card({"a": lost, "b": usual()}), DataLimits(fewer=0.4)) == set()


def test_a_feed_that_stopped():
    old, new = usual(1), usual(1) | {LAST + n: 1 for n in range(1, 4)}
    before, after = card({"a": old, "b": old}), card({"a": old, "b": new}, LAST + 3)
    assert moved(before, after) == {("days from its", "a")}
    assert moved(before, after, DataLimits(days_late=3)) == set()


def test_a_row_of_a_day_to_come_is_not_the_end_of_a_log():
    """Neither holds it the others back, nor does it hide a feed that has stopped."""
    old, many = usual(1_000), usual(80_000)
    month = {LAST + n: 80_000 for n in range(1, 6)}
    to_come = {LAST + 9_000: 1}
    before = card({"a": many, "b": old})
    fresh = old | {LAST + n: 1_000 for n in range(1, 6)}
    wrong = card({"a": many | month | to_come, "b": fresh}, LAST + 9_000)
    assert moved(before, wrong) == set()
    before = card({"a": many | to_come, "b": old}, LAST + 9_000)
    stopped = {day: rows for day, rows in fresh.items() if day <= LAST - 1}
    after = card({"a": many | month | to_come, "b": stopped}, LAST + 9_000)
    assert ("days from its", "b") in moved(before, after)
    # A domain that has nothing else has no end that could be late.
    nothing = card({"a": many, "b": old, "c": to_come}, LAST + 9_000)
    assert moved(nothing, nothing) == set()
