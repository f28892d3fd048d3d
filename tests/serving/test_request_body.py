"""Zipped requests are answered as plain ones are, and no larger ones than those."""

import gzip
import json
import random
import tracemalloc

import pytest
import requests

from tests.support.rest_server import LIMITS, put, raw, running

PATH = "/v1/models/syncrec:predict"
BODY = json.dumps({"instances": [{"items": ["a", "é"], "domain": ""}] * 3}).encode()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    put(base, 1)
    with running(base, LIMITS, seconds=1000) as rest:
        yield rest


def post(rest, data, encoding="gzip"):
    headers = {"Content-Encoding": encoding}
    return requests.post(rest.url + PATH, data=data, headers=headers, timeout=30)


def in_pieces(data):
    """Sent as chunks of random lengths."""
    rng, start = random.Random(1), 0
    while start < len(data):
        stop = start + rng.randint(1, 20)
        yield data[start:stop]
        start = stop


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_zipped_requests_are_answered_as_plain_ones(tiny, encoding):
    plain = requests.post(tiny.url + PATH, data=BODY, timeout=30)
    assert plain.status_code == 200 and len(plain.json()["predictions"]) == 3
    zipped = gzip.compress(BODY)
    members = gzip.compress(BODY[:10]) + gzip.compress(b"") + gzip.compress(BODY[10:])
    for data in (zipped, members, in_pieces(zipped), in_pieces(members)):
        assert post(tiny, data, encoding).json() == plain.json()
    assert post(tiny, BODY, "identity").json() == plain.json()


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (BODY, 400, "The request is not gzip"),
        (b"", 400, "cut off"),
        (gzip.compress(BODY)[:-1], 400, "cut off"),
        (gzip.compress(BODY)[:5], 400, "cut off"),
        (gzip.compress(BODY) + b"more", 400, "not gzip"),
        (gzip.compress(BODY)[:-8] + b"\0" * 8, 400, "not gzip"),
        (gzip.compress(b"{"), 400, "JSON Parse error"),
        (gzip.compress(b" " * (LIMITS.body + 1)), 413, f"larger than {LIMITS.body} bytes"),
        (gzip.compress(b" " * LIMITS.body) * 2, 413, f"larger than {LIMITS.body} bytes"),
    ],
    ids=range(9),  # what is zipped has the time in it, and names are alike in all processes
)
def test_what_is_zipped_wrongly_is_told_so(tiny, data, status, message):
    answer = post(tiny, data)
    assert answer.status_code == status and message in answer.json()["error"]


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "x" * 1000])
def test_other_encodings_are_refused_by_name(tiny, encoding):
    answer = post(tiny, BODY, encoding)
    assert answer.status_code == 415 and answer.headers["accept-encoding"] == "gzip"
    assert encoding[:50] in answer.json()["error"] and len(answer.text) < 300


def test_what_unfolds_to_gigabytes_is_not_unfolded(tiny):
    bomb = gzip.compress(b" " * 150_000_000)
    assert len(bomb) < LIMITS.body
    tracemalloc.start()
    try:
        assert post(tiny, bomb).status_code == 413
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_who_zips_too_slowly_is_told_so(tiny):
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 99\r\n\r\n"
    )
    assert raw(tiny.port, head.encode() + gzip.compress(BODY)[:5]).startswith(b"HTTP/1.1 408")
