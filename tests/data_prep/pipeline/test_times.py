"""When things happened, as the data card counts it, against loops over the log."""

import collections
import hashlib

import numpy as np
import pytest

from data_prep import prepare
from data_prep.pipeline import times as module
from data_prep.pipeline.times import per_second

DAY = 86_400
START = 1_600_000_000
UNITS = {"s": 1, "ms": 1000, "µs": 10**6, "ns": 10**9}


def rows_of(users=1_300):
    """Seconds; some rows of a user are of one time."""
    rng = np.random.default_rng(5)
    rows = set()
    for user in range(users):
        time = START + int(rng.integers(40 * DAY))
        for _ in range(int(rng.integers(1, 7))):
            time += int(rng.choice([0, 0, 60, 5000, 90_000]))
            domain = "ab"[int(rng.integers(2))]
            rows.add((f"u{user}", f"{domain}{rng.integers(30)}", domain, time))
    return sorted(rows)


def card_of(tmp_path, rows, unit=1, **settings):
    lines = [f"{u},{i},{d},{t * unit}" for u, i, d, t in rows]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["user_id,item_id,domain,timestamp", *lines]))
    data = tmp_path / "data"
    return prepare("interactions", path=log, data_dir=data, report=None, **settings).data_card


def gaps_of(rows):
    of_user = collections.defaultdict(list)
    for user, _, _, time in rows:
        of_user[user].append(time)
    return [g for times in of_user.values() for g in np.diff(sorted(times))]


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_times_are_those_of_the_log_in_any_unit(tmp_path, unit):
    rows = rows_of()
    card = card_of(tmp_path, rows, UNITS[unit])
    found = card["times"]
    assert found["per_second"] == UNITS[unit]
    times = [time for *_, time in rows]
    assert found["oldest"] == min(times) * UNITS[unit]
    assert found["newest"] == max(times) * UNITS[unit]
    days: dict = collections.defaultdict(collections.Counter)
    for _, _, domain, time in rows:
        days[domain][str(time // DAY)] += 1
    assert found["days"] == {name: dict(sorted(days[name].items())) for name in ("a", "b")}
    gaps = gaps_of(rows)
    assert found["tied_share"] == pytest.approx(gaps.count(0) / len(gaps)) and 0 in gaps
    assert found["median_gap"] == pytest.approx(np.median([g for g in gaps if g]), rel=0.05)
    hashes = sorted(hashlib.md5(user.encode()).hexdigest()[:16] for user in {u for u, *_ in rows})
    assert found["users"] == hashes[: module.SAMPLE] and len(hashes) > module.SAMPLE
    assert card["users"]["kept"] == len(hashes)


def test_the_newest_row_of_each_split(tmp_path):
    rows = rows_of(400)
    shares = {"split": "global_time", "validation_share": 0.1, "test_share": 0.2}
    card = card_of(tmp_path, rows, **shares)
    times = np.sort([time for *_, time in rows])
    cut = times[len(times) - round(len(times) * 0.3)]
    newest = card["times"]["newest_by_split"]
    assert newest["train"] == times[times < cut].max() < newest["validation"] < newest["test"]
    assert newest["test"] <= card["times"]["newest"] == times[-1]


def test_without_gaps_and_with_many_days(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_DAYS", 3)
    rows = [
        (f"u{n}", f"{'ab'[k % 2]}{k}", "ab"[k % 2], n * DAY) for n in range(9) for k in range(4)
    ]
    found = card_of(tmp_path, rows)["times"]
    assert found["median_gap"] is None and found["tied_share"] == 1.0
    assert found["days"] == {name: {"6": 2, "7": 2, "8": 2} for name in "ab"}


def test_a_few_wrong_clocks_do_not_decide_the_unit(tmp_path):
    rows = rows_of(200)
    wrong = [(u, i, d, time * 10**6) for u, i, d, time in rows[:20]]
    found = card_of(tmp_path, [*rows[20:], *wrong])["times"]
    assert found["per_second"] == 1 and found["newest"] > 1e15


def test_units_by_the_size_of_a_time():
    assert [per_second(t) for t in (0, -5.0, 1.7e9, 1.7e12, 1.7e15, 1.7e18)] == [
        *(1, 1, 1),
        *(1e3, 1e6, 1e9),
    ]
