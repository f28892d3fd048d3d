"""Whoever is known by an id is answered by what the store has of him, or as one of whom nothing is
known; a real store, a real server."""

import threading
import time
from typing import Any

import pytest

from serving.client import Client, ServingError
from serving.histories import open_histories
from tests.support.redis_server import needs_redis
from tests.support.rest_server import wait_for

NOON = 1_600_000_000.0


def test_what_was_clicked_a_second_ago_counts_in_the_next_answer(rest, store):
    """And the answer is that of a request that brings the history itself."""
    client, plain = Client(rest.url, histories=store), Client(rest.url)
    history: list[str] = []
    for n in range(4):
        for domain in ("audio", "música", "", None):
            answer = client.recommend_user("u", domain, k=7)
            (expected,) = plain.recommend([history], domain, k=7)
            assert answer.items == expected.items and answer.known_items == n
            assert answer.scores == pytest.approx(expected.scores, abs=1e-3)
            assert answer.fallback == (n == 0)
        clicked = answer.items[0]
        store.record("u", clicked, NOON + n)
        history.append(clicked)
        assert clicked not in client.recommend_user("u", k=7).items
    assert client.recommend_user("somebody else").fallback
    assert (client.histories.failures, client.histories.missed) == (0, 0)


def test_another_version_may_take_something_else(rest, store):
    """What was known of the model is looked up again when a request is refused."""
    client = Client(rest.url, histories=store)
    store.record("u", rest.served.ids[40], NOON)
    expected = client.recommend_user("u", "música")
    signatures = client._signatures_of(client._model_url)
    fresh = signatures.inputs()
    signatures._known = {"with_times": frozenset({"timestamps"})}  # of the version before
    assert client.recommend_user("u", "música").items == expected.items
    assert signatures.inputs() == fresh
    with pytest.raises(ServingError, match="unknown domain"):
        client.recommend_user("u", "film")


def test_what_is_asked_wrongly_is_an_error_all_the_same(rest, store):
    with pytest.raises(ValueError, match="needs a store"):
        Client(rest.url).recommend_user("u")
    client = Client(rest.url, histories=store)
    nobody: Any = None
    with pytest.raises(TypeError, match="user_id: expected text"):
        client.recommend_user(nobody)
    with pytest.raises(ValueError, match="histories_timeout"):
        Client(rest.url, histories=store, histories_timeout=0)
    with pytest.raises(ServingError, match=r"no answer|Connection|refused"):
        Client("http://127.0.0.1:9", histories=store, retries=0).recommend_user("u")


@needs_redis
def test_redis_killed_under_load_is_popularity_and_no_error(rest, redis_server, caplog):
    """And when it is back its answers count again."""
    redis_server.client().flushall()
    store = open_histories(redis_server.address)
    client = Client(rest.url, histories=store)
    item = rest.served.ids[40]
    store.record("u", item, NOON)
    (popular,) = Client(rest.url).recommend([[]], "audio")
    failed, answers, stop = [], [], threading.Event()

    def ask():
        while not stop.is_set():
            try:
                start = time.monotonic()
                answer = client.recommend_user("u", "audio")
                answers.append((time.monotonic(), time.monotonic() - start, answer))
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answers) > 40)
        assert not any(answer.fallback for _, _, answer in answers)
        redis_server.kill()
        killed, before = time.monotonic(), len(answers)
        wait_for(lambda: time.monotonic() > killed + 1.5 and len(answers) > before + 100)
        while_away = [answer for when, _, answer in answers[before:] if when > killed + 0.5]
        redis_server.start()
        store.record("u", item, NOON)  # it has lost all
        wait_for(lambda: not answers[-1][2].fallback)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed
    assert while_away and all(a.fallback and a.known_items == 0 for a in while_away)
    assert all(answer.items == popular.items for answer in while_away)
    assert client.recommend_user("u", "audio").known_items == 1
    # Asked by few: the others did not wait for it.
    assert 3 <= client.histories.failures < 20 < client.histories.missed
    assert any("Redis at 127.0.0.1" in record.message for record in caplog.records)
    assert any("answers again" in record.message for record in caplog.records)
    store.close()
