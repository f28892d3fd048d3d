"""The local server reads and writes a store for its demo page."""

import time

import pytest
import requests

from serving.client import Client
from serving.histories import open_histories
from tests.support.rest_server import LIMITS, running

NOON = 1_600_000_000.0


@pytest.fixture(scope="module")
def rest(served, tmp_path_factory):
    histories = open_histories(str(tmp_path_factory.mktemp("store") / "histories.db"))
    with running(served.base, LIMITS, histories=histories) as server:
        yield server


def post(rest, method, document):
    return requests.post(f"{rest.url}/v1/histories:{method}", json=document, timeout=30)


def test_the_server_records_and_tells(rest):
    assert post(rest, "latest", {"user_id": "x"}).json() == {"items": [], "timestamps": []}
    for n, item in enumerate("abc"):
        document = {"user_id": "x", "item_id": item, "timestamp": 10.0 + n}
        assert post(rest, "record", document).json() == {"timestamp": 10.0 + n}
    found = post(rest, "latest", {"user_id": "x", "n": 2}).json()
    assert found == {"items": ["b", "c"], "timestamps": [11.0, 12.0]}


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_a_click_is_of_now_in_the_unit_of_the_users_events(rest, unit):
    user = f"of unit {unit}"
    rest.server.api.histories.record(user, "a", NOON * unit)
    when = post(rest, "record", {"user_id": user, "item_id": "b"}).json()["timestamp"]
    assert abs(when / unit - time.time()) < 60
    assert post(rest, "latest", {"user_id": user}).json()["items"] == ["a", "b"]


@pytest.mark.parametrize(
    ("method", "document", "message"),
    [
        ("latest", {}, "missing: user_id"),
        ("record", {"user_id": "u"}, "missing: item_id"),
        ("latest", {"user_id": "u", "m": 3}, "unknown: m"),
        ("latest", {"user_id": "u", "n": 0}, "n: expected at least 1"),
        ("latest", {"user_id": "u", "n": "2"}, "n: expected whole numbers"),
        ("latest", {"user_id": ["u"]}, "user_id: expected text"),
        ("record", {"user_id": "u", "item_id": ""}, "item_id: expected an id"),
        ("record", {"user_id": "u", "item_id": "a", "timestamp": "noon"}, "timestamp: expected"),
        ("record", {"user_id": "u", "item_id": "a", "timestamp": 10**400}, ""),
        ("record", ["u", "a"], "Is not object"),
        ("forget", {"user_id": "u"}, "Malformed request"),
    ],
    ids=str,
)
def test_what_the_server_does_not_take(rest, method, document, message):
    answer = post(rest, method, document)
    assert answer.status_code == 400 and message in answer.json()["error"]
    assert post(rest, "latest", {"user_id": "u"}).json()["items"] == []


def test_a_server_without_a_store_says_so(rest, monkeypatch):
    monkeypatch.setattr(rest.server.api, "histories", None)
    answer = post(rest, "latest", {"user_id": "u"})
    assert answer.status_code == 404 and "--histories" in answer.json()["error"]


def test_a_server_whose_store_is_away_predicts_all_the_same(rest, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setattr(rest.server.api, "histories", open_histories("redis://127.0.0.1:1/0"))
    answer = post(rest, "record", {"user_id": "u", "item_id": "a"})
    assert Client(rest.url).recommend([[]], "audio")[0].fallback
    assert answer.status_code == 503
    assert "The store of histories does not answer: Redis at" in answer.json()["error"]
