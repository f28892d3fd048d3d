"""Either store is a list of sorted, distinct events that is cut, whatever comes in which order."""

import hashlib
import itertools
import math
import threading
import time
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.pipeline.user_histories import Histories as LogHistories
from data_prep.pipeline.user_histories import settle_ties
from serving.histories import Event, StoreError, open_histories
from serving.histories.store import tie
from tests.support.redis_server import needs_redis

KEEP = 5
examples = itertools.count()


@pytest.fixture
def keep():
    return KEEP


def literal(events, user, keep=KEEP):
    """What a store is to say, from all events that it was told."""
    own = {(item, when) for who, item, when in events if who == user}

    def order(event):
        item, when = event
        return when, hashlib.md5(f"{user}\x1f{item}".encode()).digest()[:8], item.encode()

    return sorted(own, key=order)[-keep:]


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3)
ids = st.sampled_from(["a", "b", "c", "'", "日本", "x\x1f", "\0", "\n", "%", ":"]) | texts
times = st.sampled_from([0.0, -0.0, 1.0, 2.0, 1.7e9, 1.7e18]) | st.floats(
    allow_nan=False, allow_infinity=False
)
events = st.lists(st.tuples(st.sampled_from(["u", "v", "u:v", "ü \0"]), ids, times), max_size=40)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(told=events, data=st.data())
def test_equals_the_literal_reading_however_events_arrive(store, told, data):
    """Shuffled, cut into requests, and some of them twice: as it is delivered in practice."""
    run = f"{next(examples)} "  # its users are its own
    told = [(run + user, item, when) for user, item, when in told]
    again = data.draw(st.lists(st.sampled_from(told), max_size=10)) if told else []
    arriving = data.draw(st.permutations(told + again))
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        some, arriving = arriving[:size], arriving[size:]
        store.record(*some[0]) if size == 1 else store.record_many(some)
    for user in {user for user, _, _ in told} | {run + "nobody"}:
        found = store.latest(user)
        assert [tuple(event) for event in found] == literal(told, user)
        assert all(math.copysign(1, when) == 1 for _, when in found if when == 0)
        for n in (1, 2, KEEP + 1):
            assert store.latest(user, n) == found[-n:]


def test_ties_have_the_order_of_the_log():
    """That of `settle_ties`, which makes what a model is trained on."""
    rng = np.random.default_rng(0)
    names = [f"item {n}" for n in range(50)]
    users = [f"user {n}" for n in range(40)]
    lengths = rng.integers(1, 12, len(users))
    items = np.concatenate([rng.choice(50, n, replace=False) for n in lengths]).astype(np.int32)
    log = LogHistories(pa.array(users), np.append(0, lengths.cumsum()), items, np.zeros(len(items)))
    settled = settle_ties(log, pa.array(names, pa.large_string()))
    for number, user in enumerate(users):
        own = slice(settled.starts[number], settled.starts[number + 1])
        expected = [names[item] for item in settled.items[own]]
        assert sorted(expected, key=partial(tie, user)) == expected


def test_an_item_of_two_times_is_two_events(store):
    """People come back."""
    store.record_many([("u", "milk", 2.0), ("u", "milk", 1.0), ("u", "milk", 2.0)])
    assert store.latest("u") == [Event("milk", 1.0), Event("milk", 2.0)]


def test_whole_numbers_are_ids(store):
    store.record(7, np.int64(8), np.float32(3))
    assert store.latest("7") == store.latest(7) == [Event("8", 3.0)]


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (("", "a", 1.0), "user_id: expected an id"),
        (("u", "", 1.0), "item_id: expected an id"),
        (("u", None, 1.0), "item_id: expected text"),
        (("u", 1.5, 1.0), "item_id: expected text"),
        (("u", "a", math.nan), "timestamp: expected finite"),
        (("u", "a", math.inf), "timestamp: expected finite"),
        (("u", "a", "noon"), "timestamp: expected numbers"),
        (("u", "a", True), "timestamp: expected numbers"),
        (("u", "\ud800", 1.0), "surrogates"),
    ],
    ids=str,
)
def test_what_is_no_event_is_refused_with_all_that_came_with_it(store, event, error):
    with pytest.raises((TypeError, ValueError), match=error):
        store.record_many([("u", "good", 1.0), event])
    assert store.latest("u") == []
    with pytest.raises(ValueError, match="n: expected at least 1"):
        store.latest("u", 0)


def test_two_writers_and_a_reader_at_once(store, address):
    """Of one user: nothing is lost, and what a reader sees is never more than is kept."""
    others = [open_histories(address, keep=KEEP) for _ in range(2)]
    told = [[("u", f"{w} {n}", float(n)) for n in range(60)] for w in range(2)]
    failed = []

    def write(opened, mine):
        try:
            for event in mine:
                opened.record(*event)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=pair) for pair in zip(others, told, strict=True)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = store.latest("u")
        assert len(seen) <= KEEP and seen == sorted(seen, key=lambda event: event.timestamp)
    for thread, opened in zip(threads, others, strict=True):
        thread.join()
        opened.close()
    assert not failed
    assert [tuple(event) for event in store.latest("u")] == literal(told[0] + told[1], "u")


def test_it_is_there_for_the_next_process(store, address):
    store.record("u", "a", 1.0)
    store.set_mark("log", 12)
    store.close()
    again = open_histories(address, keep=KEEP)
    assert again.latest("u") == [Event("a", 1.0)] and again.mark("log") == 12
    again.set_mark("log", 0)
    assert again.mark("log") == again.mark("other") == 0
    again.close()


# ------------------------------------------------------------------------------- one store or other


@needs_redis
def test_redis_forgets_whoever_is_silent(redis_server):
    redis_server.client().flushall()
    store = open_histories(redis_server.address, keep=KEEP, expire_days=0.6 / 86400)  # one second
    store.record("u", "a", 1.0)
    (key,) = redis_server.client().keys()
    assert 0 < redis_server.client().pttl(key) <= 1000
    for n in range(8):  # whoever is not, stays
        time.sleep(0.2)
        store.record("u", "b", float(n))
    assert len(store.latest("u")) == KEEP
    time.sleep(1.2)
    assert store.latest("u") == [] and not redis_server.client().keys()
    store.close()


@needs_redis
def test_in_redis_an_event_comes_with_its_trim_and_expiry_or_not_at_all(redis_server):
    """One transaction: the commands as another client sees them."""
    redis_server.client().flushall()
    store = open_histories(redis_server.address, keep=KEEP)
    with redis_server.client().monitor() as watch:
        store.record_many([("u", "a", 1.0), ("v", "b", 2.0)])
        seen: list[str] = []
        while "EXEC" not in seen:
            seen.append(watch.next_command()["command"].split()[0])
    begin = seen.index("MULTI")
    assert seen[begin + 1 : -1] == ["ZADD", "ZREMRANGEBYRANK", "EXPIRE"] * 2
    store.close()


@needs_redis
def test_redis_may_be_away_when_it_is_opened_and_says_where_it_was_not(redis_server):
    store = open_histories("redis://me:secret@127.0.0.1:1/0")
    with pytest.raises(StoreError, match=r"Redis at 127\.0\.0\.1:1: ") as error:
        store.latest("u")
    assert "secret" not in str(error.value)
    with pytest.raises(StoreError):
        store.record("u", "a", 1.0)
    redis_server.client().set("syncrec:user:u", "of somebody else")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        open_histories(redis_server.address).latest("u")


def test_a_writer_that_fails_leaves_nothing_half_done(tmp_path):
    """Here the disk is full, as it were: no further page may be had."""
    store = open_histories(str(tmp_path / "h.db"))
    store.record("u", "a", 1.0)
    connect: Any = store
    with connect._connection() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        store.record_many([("u", f"item {n}", float(n)) for n in range(3000)])
    assert store.latest("u") == [Event("a", 1.0)]
    store.record("u", "b", 2.0)
    assert len(store.latest("u")) == 2
    store.close()


def test_what_is_no_store_is_told_in_one_line(tmp_path):
    (tmp_path / "text").write_text("no database" * 100)
    for address, error, what in [
        (str(tmp_path / "text"), StoreError, "not a database"),
        (str(tmp_path / "nowhere/h.db"), StoreError, "unable to open"),
        ("mysql://host/x", ValueError, "mysql:// is no kind of store"),
        ("sqlite://h.db", ValueError, "three slashes"),
        ("", ValueError, "received an empty text"),
    ]:
        with pytest.raises(error, match=what) as said:
            open_histories(address)
        assert "\n" not in str(said.value)
    with pytest.raises(ValueError, match="SQLite do not expire"):
        open_histories(str(tmp_path / "h.db"), expire_days=3)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="keep: expected at least 1"):
            open_histories(str(tmp_path / "h.db"), keep=wrong)


def test_addresses_of_sqlite_are_as_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    open_histories("sqlite:///near.db").record("u", "a", 1.0)
    assert open_histories(str(tmp_path / "near.db")).latest("u") == [Event("a", 1.0)]
    open_histories(f"sqlite:///{tmp_path}/far.db").close()
    assert (tmp_path / "far.db").exists()
