"""The local server reads and writes a store for its demo page."""

import json
import time

import pytest
import requests

from serving.client import Client
from serving.histories import open_histories
from serving.histories.rest import answer as rest_answer
from tests.support.rest_server import LIMITS, raw, running

NOON = 1_600_000_000.0


@pytest.fixture(scope="module")
def rest(served, tmp_path_factory):
    histories = open_histories(str(tmp_path_factory.mktemp("store") / "histories.db"))
    histories.record("somebody", "a", NOON)
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


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_a_first_click_is_of_now_in_the_unit_of_the_store(store, unit):
    """One of a wrong clock among them; in another unit it would be the first of all for ever."""
    ask = {"user_id": "new", "item_id": "b"}
    with pytest.raises(ValueError, match="timestamp: the store is empty"):
        rest_answer(store, "record", ask)
    assert store.latest("new") == []
    store.record("clock", "a", 0.0)
    store.record_many([(f"u{n}", "a", (NOON + n) * unit) for n in range(9)])
    when = rest_answer(store, "record", ask)["timestamp"]
    assert abs(when / unit - time.time()) < 60
    store.record("new", "c", (NOON + 1) * unit)
    assert rest_answer(store, "latest", {"user_id": "new"})["items"] == ["c", "b"]


def send(rest, path="/v1/histories:record", **headers):
    """A request by these headers and no others of its own."""
    lines = {"Host": f"127.0.0.1:{rest.port}", "Content-Type": "application/json"} | {
        name.replace("_", "-"): value.format(port=rest.port) for name, value in headers.items()
    }
    body = b'{"user_id": "victim", "item_id": "a"}'
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    head = f"POST {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return int(raw(rest.port, head.encode() + body).split()[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content_Type": "Application/JSON; charset=utf-8"}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 200),
        ({"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"}, 200),
        ({"Host": "shop:{port}"}, 200),  # a program that knows the server by a name
        *(({"Content_Type": kind}, 415) for kind in ("text/plain", "multipart/form-data", "")),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "application/json-seq"}, 415),
        *(({"Origin": site}, 403) for site in ("http://evil.example", "null", "http://[", "x")),
        ({"Origin": "https://127.0.0.1:{port}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
        # A name of theirs that leads here.
        ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
        ({"Host": "[:{port}", "Origin": "http://[:{port}"}, 403),
    ],
    ids=str,
)
def test_a_page_of_another_site_can_neither_read_nor_write(rest, headers, status):
    """A browser sends text anywhere unasked, JSON only where it may, and says of which site."""
    histories = rest.server.api.histories
    before = histories.latest("victim")
    assert send(rest, **headers) == status
    assert (histories.latest("victim") == before) == (status != 200)
    told = send(rest, "/v1/histories:latest", **headers)
    assert told in (400, 403, 415) and (told == 400) == (status == 200)


def test_predictions_are_asked_as_ever(rest):
    """As TensorFlow Serving takes them: of any type, from anywhere."""
    body = json.dumps({"instances": [{"items": ["a"], "domain": ""}]})
    headers = {"Content-Type": "text/plain", "Origin": "http://elsewhere.example"}
    url = f"{rest.url}/v1/models/syncrec:predict"
    assert requests.post(url, data=body, headers=headers, timeout=30).status_code == 200
    for name, value in (("Accept-Post", "application/json"), ("Accept-Encoding", "gzip")):
        answer = requests.post(f"{rest.url}/v1/histories:latest", data="{}", timeout=30)
        assert answer.status_code == 415 and answer.headers[name] == value


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
