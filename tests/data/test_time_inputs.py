"""Which times carry something: decided from training rows."""

import numpy as np
import pytest

from tests.conftest import FakePrepared
from tf_syncrec.data.time_inputs import informative, time_inputs

DAY = 86400.0
RNG = np.random.default_rng(0)
ANY_TIME = np.sort(RNG.uniform(1.5e9, 1.5e9 + 60 * DAY, [40, 10]), axis=1)
LOGS = {
    "of any time": (ANY_TIME, ("gap", "hour", "weekday")),
    "in milliseconds": (1e3 * ANY_TIME, ("gap", "hour", "weekday")),
    "of days": (ANY_TIME // DAY * DAY, ("gap", "weekday")),
    "of a shop that opens on Mondays": (ANY_TIME // (7 * DAY) * 7 * DAY, ("gap",)),
    "of a fortnight": (1.5e9 + (ANY_TIME - 1.5e9) / 4, ("gap", "hour")),
    "of an afternoon": (1.5e9 + (ANY_TIME - 1.5e9) / 400, ("gap",)),
    "of one moment": (np.full([40, 10], 1.5e9), ()),
    "of baskets, one of each user": (
        np.repeat(RNG.choice(ANY_TIME.ravel(), [40, 1]), 10, axis=1),
        ("hour", "weekday"),
    ),
}


@pytest.mark.parametrize(("times", "expected"), LOGS.values(), ids=LOGS)
def test_what_differs_from_event_to_event(times, expected):
    assert informative(times.ravel(), np.full(40, 10)) == expected


def test_training_rows_are_looked_at_and_nothing_where_all_is_said():
    rows = [
        {"user_id": b"u", "items": np.array([1, 2, 3], np.int32), "timestamps": ANY_TIME[0, :3]}
    ]
    prepared = FakePrepared(None, {"train": rows * 20})
    assert time_inputs("auto", prepared) == informative(
        np.tile(ANY_TIME[0, :3], 20), np.full(20, 3)
    )
    assert time_inputs("auto", FakePrepared(None, {"train": []})) == ()
    assert time_inputs(["hour"], FakePrepared(None, {})) == ("hour",)
    assert time_inputs("none", FakePrepared(None, {})) == ()
