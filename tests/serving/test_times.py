"""Requests that tell times: what they may hold, and what it changes."""

from typing import Any

import numpy as np
import pytest
import requests
import tensorflow as tf

from serving.client import Client, ServingError
from serving.histories import open_histories
from tests.support.browser import cards, look, needs_browser
from tests.support.exporting import TERMS
from tests.support.rest_server import LIMITS, PATIENCE, running
from tf_syncrec.evaluation.full_ranking import ModelScorer

NOON = 1_600_000_000.0


@pytest.fixture(scope="module")
def rest(exported):
    found = exported(**TERMS)
    with running(found.base, LIMITS) as server:
        server.served = found
        yield server


def asked(rest, items, times, now=0.0, domain="música"):
    answer = rest.served.loaded.signatures["with_times"](
        items=tf.constant([items]),
        domain=tf.constant([domain]),
        k=tf.constant([10]),
        timestamps=tf.constant([times], tf.float64),
        now=tf.constant([now], tf.float64),
    )
    return answer["items"].numpy()[0].tolist(), answer["scores"].numpy()[0]


def test_unknown_items_take_their_times_with_them(rest):
    """Wherever they stand, and whatever pads."""
    ids = rest.served.ids
    items, times = [ids[40], ids[50], ids[41]], [NOON, NOON + 3600.0, NOON + 7200.0]
    expected = asked(rest, items, times)
    mixed = ["who?", ids[40], "", ids[50], "who?", ids[41], "who?", ""]
    when = [NOON - 1e7, NOON, 0.0, NOON + 3600.0, 5e9, NOON + 7200.0, NOON + 9e6, 0.0]
    received = asked(rest, mixed, when)
    assert received[0] == expected[0]
    np.testing.assert_allclose(received[1], expected[1], atol=1e-5)
    others = [asked(rest, items, [NOON - ago, NOON, NOON])[1] for ago in (0, 60, 1e5, 3e6, 1e8)]
    assert any(not np.allclose(scores, expected[1]) for scores in others)


def test_a_request_that_tells_nothing_is_answered_as_ever(rest):
    ids = rest.served.ids
    items = [ids[40], ids[50], ids[41]]
    usual = rest.served.loaded.signatures["top_k"](
        items=tf.constant([items]), domain=tf.constant(["música"]), k=tf.constant([10])
    )
    for now in (0.0, NOON):  # the time of a request says nothing where no other is known
        received = asked(rest, items, [0.0] * 3, now)
        assert received[0] == usual["items"].numpy()[0].tolist()
        np.testing.assert_allclose(received[1], usual["scores"].numpy()[0], atol=1e-5)


def test_each_row_tells_what_it_knows(rest):
    """In one request, by the client: as if each had been asked alone."""
    client, ids = Client(rest.url, timeout=PATIENCE, retries=0), rest.served.ids
    histories = [[ids[40], ids[50]], [ids[41]], [ids[35], ids[36], ids[35]]]
    times = [[NOON, NOON + 60], [0.0], [NOON * 1000, NOON * 1000, (NOON + 86400) * 1000]]
    now = [0.0, 0.0, (NOON + 90000) * 1000]
    together = client.recommend(histories, "música", timestamps=times, now=now)
    for history, when, moment, answer in zip(histories, times, now, together, strict=True):
        alone = client.recommend([history], "música", timestamps=[when], now=moment)
        assert alone[0].items == answer.items
    options = client.recommend(histories, "música", exclude_seen=True, timestamps=times, now=now)
    for history, answer in zip(histories, options, strict=True):
        assert not set(history) & set(answer.items)


def test_each_domain_is_answered_with_times(rest):
    signatures, ids = rest.served.loaded.signatures, rest.served.ids
    items = tf.constant([["", ids[40], ids[50]], [ids[41], ids[41], ids[40]]])
    times = tf.constant([[0.0, NOON, NOON + 60], [0.0, 0.0, 0.0]], tf.float64)
    told = {"timestamps": times, "now": tf.constant([NOON + 3600, 0.0], tf.float64)}
    each = signatures["each_domain"](items=items, k=tf.constant([5, 3]), **told)
    for d, domain in enumerate(rest.served.catalogue.domains):
        alone = signatures["with_times"](
            items=items, domain=tf.fill([2], domain), k=tf.constant([5, 3]), **told
        )
        np.testing.assert_array_equal(each["items"][:, d], alone["items"])
        np.testing.assert_allclose(each["scores"][:, d], alone["scores"], atol=1e-5)


def test_any_domain_is_answered_with_times(rest):
    """By the scorer of the model, told the same."""
    served = rest.served
    number = {item: n + 1 for n, item in enumerate(served.ids)}
    items = [served.ids[i] for i in (2, 31, 40, 31, 70)]
    times = [NOON, NOON + 60.0, NOON + 86400.0, NOON + 86400.0, NOON + 90000.0]
    ids = np.array([[number[item] for item in items]], np.int32)
    scorer = ModelScorer(served.model, told="at_request_time")
    scorer.refresh()
    for d, (name, offset, size) in enumerate(
        zip(served.catalogue.domains, served.catalogue.offsets, served.catalogue.sizes, strict=True)
    ):
        if not size:
            continue
        batch = {
            "items": ids,
            "domain": np.array([d], np.int32),
            "timestamps": np.array([times]),
            "target_timestamp": np.array([NOON + 1e5]),
        }
        scores = np.array(scorer.scores(scorer.queries(batch), int(offset), int(size)))[0]
        left = [
            i for i in range(size) if TERMS["repeats"][d] or served.ids[offset - 1 + i] not in items
        ]
        best = sorted(left, key=lambda i: -scores[i])[:10]
        received, found = asked(rest, items, times, NOON + 1e5, name)
        received = [item.decode() for item in received if item]
        np.testing.assert_allclose(found[: len(best)], scores[best], atol=1e-4)
        assert set(received) == {served.ids[offset - 1 + i] for i in best}


def test_a_user_is_answered_by_when_his_events_were(rest, tmp_path):
    store = open_histories(str(tmp_path / "histories.db"))
    client, ids = Client(rest.url, timeout=PATIENCE, histories=store), rest.served.ids
    items, times = [ids[40], ids[50], ids[40]], [NOON, NOON + 60, NOON + 86400]
    for item, when in zip(items, times, strict=True):
        store.record("u", item, when)
    for now in (None, NOON + 90000):
        (told,) = Client(rest.url, timeout=PATIENCE).recommend(
            [items], "música", timestamps=[times], now=now
        )
        answer = client.recommend_user("u", "música", now=now)
        assert answer.items == told.items
        assert answer.scores == pytest.approx(told.scores, abs=1e-4)
    (untold,) = Client(rest.url, timeout=PATIENCE).recommend([items], "música")
    assert answer.scores != pytest.approx(untold.scores, abs=1e-2)
    assert client.recommend_user("nobody", "música", now=NOON).fallback
    seen = client.recommend_user("u", "música", k=40, exclude_seen=True)
    assert not set(items) & set(seen.items)


@needs_browser
def test_the_page_tells_when_the_events_of_a_user_were(rest, tmp_path, monkeypatch):
    store, ids = open_histories(str(tmp_path / "histories.db")), rest.served.ids
    monkeypatch.setattr(rest.server.api, "histories", store)
    for n in (40, 50, 40):
        store.record("u", ids[n], NOON + 1000 * n)
    answer = Client(rest.url, timeout=PATIENCE, histories=store).recommend_user("u", "música")
    lines, _ = cards(look(rest, tmp_path / "browser", "?user=u"), raw=True)["música"]
    assert [score for _, score in lines] == pytest.approx(answer.scores, abs=2e-3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"timestamps": [[1.0]]}, "timestamps must have a number for each of items"),
        ({"timestamps": [["noon", 1]]}, "not of expected type: float64"),
        ({"timestamps": [[True, 1]]}, "not of expected type: float64"),
        ({"now": [None]}, "not of expected type: float64"),
        ({"now": [10**400]}, "not of expected type: float64"),
        ({"now": [1.0, 2.0]}, "as many rows as each other"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_times_are_refused(rest, inputs, message):
    good: dict[str, Any] = {"items": [["a", "b"]], "domain": ["books"], "k": [3]}
    good |= {"timestamps": [[1.0, 2]], "now": [3]}
    url = f"{rest.url}/v1/models/syncrec:predict"
    request: dict[str, Any] = {"signature_name": "with_times", "inputs": good}
    assert requests.post(url, json=request, timeout=60).status_code == 200
    answer = requests.post(url, json=request | {"inputs": good | inputs}, timeout=60)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_a_model_without_times_says_so(served):
    with running(served.base, LIMITS) as rest, pytest.raises(ServingError, match="with_times"):
        Client(rest.url, timeout=PATIENCE, retries=0).recommend([["a"]], timestamps=[[1]])
