"""A store that fails is a history that is not known, and is left alone for a while."""

import logging
import time

import pytest

from serving.client import user_histories
from serving.histories import StoreError


class Moody:
    """A store that does what a test wants."""

    def __init__(self):
        self.does = lambda: [("a", 1.0)]
        self.asked = 0

    def latest(self, user_id):
        self.asked += 1
        return self.does()


@pytest.fixture
def clock(monkeypatch):
    """Passes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(user_histories.time, "monotonic", lambda: now[0])
    return now


def broken():
    raise StoreError("it is broken")


def slow():
    time.sleep(3)
    return []


@pytest.mark.parametrize(
    "wrong",
    [
        broken,
        lambda: (_ for _ in ()).throw(RuntimeError),
        lambda: None,
        lambda: [("a",)],
        slow,
    ],
    ids=["raises", "raises nothing of ours", "none", "no pairs", "slow"],
)
def test_whatever_a_store_does_there_is_a_history_or_none(wrong, caplog):
    store = Moody()
    histories = user_histories.UserHistories(store, timeout=0.05)
    assert histories.of("u") == (["a"], [1.0])
    store.does = wrong
    start = time.perf_counter()
    assert histories.of("u") == ([], [])
    assert time.perf_counter() - start < 2
    assert (histories.failures, histories.missed) == (1, 1)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and record.message.startswith("histories: ")


def test_a_store_that_fails_is_left_alone_and_looked_for_by_one(monkeypatch, clock):
    monkeypatch.setattr(user_histories, "within", lambda seconds, ask: ask())
    store, many, pause = Moody(), user_histories.FAILURES_IN_A_ROW, user_histories.PAUSE
    histories = user_histories.UserHistories(store, timeout=1)
    had = []

    def ask():
        had.append(histories.of("u"))
        return had[-1][0]

    works = store.does
    store.does = broken
    assert not any(ask() for _ in range(many - 1))
    store.does = works
    assert ask()  # a few failures are not many
    store.does = broken
    assert not any(ask() for _ in range(10))
    assert store.asked == 2 * many  # and no more

    def while_one_looks():
        assert not ask()  # nobody waits with it
        raise StoreError("still broken")

    for does, asked in ((while_one_looks, 2 * many + 1), (broken, 2 * many + 2)):
        clock[0] += pause + 0.01
        store.does = does
        assert not ask() and not ask()
        assert store.asked == asked
    clock[0] += pause + 0.01
    store.does = works
    assert ask() and ask()
    assert store.asked == 2 * many + 4
    assert histories.failures == 2 * many + 1
    assert histories.missed == had.count(([], []))
