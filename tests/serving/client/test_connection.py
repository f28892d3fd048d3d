"""Whatever a server does, a request ends in time, by JSON with status 200 or a ServingError."""

import socket
import threading
import time

import pytest

from serving.client import Client, ServingError
from tests.support.moody_server import moody_server, outputs

TIMEOUT = 0.6
SLACK = 2.0
"""Seconds for a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def server():
    with moody_server() as found:
        yield found


@pytest.fixture
def moody(server):
    server.script[:], server.asked[:] = [], []
    return server


def test_it_comes_again_when_the_server_is_busy_or_hangs_up(moody):
    moody.script += [(503, {"error": "busy"}), (None, None), (429, {}), (200, outputs(2))]
    answers = Client(moody.url, backoff=0).recommend([["a"], ["b", "c"]], "x")
    assert [answer.items for answer in answers] == [["a", "b"]] * 2
    assert [answer.scores for answer in answers] == [[2.0, 1.0]] * 2
    assert len(moody.asked) == 4
    for request in moody.asked:
        assert request == {
            "signature_name": "serving_default",
            "inputs": {"items": [["a", ""], ["b", "c"]], "domain": ["x", "x"]},
        }


def test_it_gives_up_after_its_retries_and_never_retries_a_refusal(moody):
    moody.script += [(503, {"error": "busy"})]
    with pytest.raises(ServingError, match="503: busy"):
        Client(moody.url, retries=2, backoff=0).recommend([["a"]])
    assert len(moody.asked) == 3
    moody.script[:] = [(400, {"error": "no"}), (500, b"<html>oops</html>")]
    for message in ("400: no", "500: <html>oops"):
        with pytest.raises(ServingError, match=message):
            Client(moody.url, backoff=0).recommend([["a"]])
    assert len(moody.asked) == 5


def head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")


def drips_body(handler):
    head(handler)
    handler.drip(b" " * 100_000)


def drips_chunks(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    handler.drip(b"1\r\n \r\n" * 10_000)


def drips_head(handler):
    handler.drip(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000)


def stops_in_the_body(handler):
    head(handler)
    time.sleep(5 * TIMEOUT)


def says_nothing(handler):
    time.sleep(5 * TIMEOUT)


@pytest.mark.parametrize(
    "slow", [drips_body, drips_chunks, drips_head, stops_in_the_body, says_nothing]
)
def test_who_answers_too_slowly_is_left_at_the_time_and_not_held_against_the_next(moody, slow):
    moody.script += [slow, (200, outputs(1))]
    client = Client(moody.url, timeout=TIMEOUT)
    start = time.monotonic()
    with pytest.raises(ServingError, match=f"no answer within {TIMEOUT:g} s") as error:
        client.recommend([["a"]])
    assert error.value.status is None
    assert TIMEOUT - 0.05 < time.monotonic() - start < TIMEOUT + SLACK
    assert len(client.recommend([["a"]])) == 1


def test_who_is_left_while_he_sends_leaves_no_thread_behind(moody):
    before = {thread for thread in threading.enumerate() if thread.name == "ask"}
    moody.script += [drips_body]
    with pytest.raises(ServingError):
        Client(moody.url, timeout=0.2).recommend([["a"]])
    end = time.monotonic() + 5
    while {thread for thread in threading.enumerate() if thread.name == "ask"} - before:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_port_that_never_answers_is_left_at_the_time():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(ServingError, match="no answer within"):
            Client(url, timeout=TIMEOUT).recommend([["a"]])
        assert time.monotonic() - start < TIMEOUT + SLACK


def says_less_than_it_said(handler):
    head(handler)
    handler.wfile.write(b'{"outputs": {}}')


def says_half_a_chunk(handler):
    handler.wfile.write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\n{"outputs"')


def says_no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize("short", [says_less_than_it_said, says_half_a_chunk, says_no_http])
def test_what_is_cut_off_is_asked_for_again_and_is_no_answer(moody, short):
    moody.script += [short, (200, outputs(1))]
    assert len(Client(moody.url, backoff=0).recommend([["a"]])) == 1
    moody.script[:] = [short]
    with pytest.raises(ServingError) as error:
        Client(moody.url, backoff=0, retries=1).recommend([["a"]])
    assert error.value.status is None


@pytest.mark.parametrize("later", ["9999", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_who_is_told_to_come_later_than_it_may_does_not_wait(moody, later):
    moody.script += [(503, {"error": "busy"}, {"Retry-After": later})]
    start = time.monotonic()
    with pytest.raises(ServingError, match="503: busy"):
        Client(moody.url, timeout=TIMEOUT).recommend([["a"]])
    assert time.monotonic() - start < TIMEOUT + SLACK
    assert len(moody.asked) == 1


def test_who_is_told_to_come_a_little_later_does(moody):
    moody.script += [(503, {}, {"Retry-After": "1"}), (200, outputs(1))]
    start = time.monotonic()
    assert len(Client(moody.url).recommend([["a"]])) == 1
    assert time.monotonic() - start >= 1
    moody.script[:] = [(503, {}, {"Retry-After": "soon"}), (200, outputs(1))]
    assert len(Client(moody.url).recommend([["a"]])) == 1


def test_retries_and_pauses_are_in_the_same_time(moody):
    moody.script += [(503, {"error": "busy"})]
    start = time.monotonic()
    with pytest.raises(ServingError, match="503: busy"):
        Client(moody.url, timeout=TIMEOUT, retries=1000, backoff=0.05).recommend([["a"]])
    assert time.monotonic() - start < TIMEOUT + SLACK
    assert 1 < len(moody.asked) < 10


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (["no", "never"], r"400: \[\"no\", \"never\"\]"),
        ({"error": ["a", 1]}, r"400: \['a', 1\]"),
        ({"detail": "x"}, "400: .*detail"),
        (b"null", "400: null"),
        (b"", "400: "),
        (b"\xff", "400: "),
        (b"[" * 100_000, "400: "),
    ],
)
def test_a_refusal_of_any_shape_is_one(moody, body, said):
    moody.script += [(400, body)]
    with pytest.raises(ServingError, match=said) as error:
        Client(moody.url).recommend([["a"]])
    assert error.value.status == 400 and len(str(error.value)) < 600


@pytest.mark.parametrize("status", [204, 206, 302, 308])
def test_no_other_status_is_an_answer(moody, status):
    moody.script += [(status, outputs(1), {"Location": moody.url})]
    with pytest.raises(ServingError) as error:
        Client(moody.url).recommend([["a"]])
    assert error.value.status == status and len(moody.asked) == 1


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"<html>Welcome</html>", {}),
        (b"", {}),
        (b"{", {}),
        (b"\xff\xfe\x00", {}),
        (b'{"outputs": NaN}', {}),
        (b"[" * 100_000, {}),
        (b"no gzip", {"Content-Encoding": "gzip"}),
    ],
)
def test_a_200_that_is_no_json_is_a_serving_error(moody, body, headers):
    moody.script += [(200, body, headers)]
    client = Client(moody.url)
    for ask in (client.status, lambda: client.recommend([["a"]]), lambda: client.explain([["a"]])):
        with pytest.raises(ServingError):
            ask()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "nowhere", "http://", "http://.x", "http://a b", "ftp://x"]
)
def test_no_server_is_a_serving_error(url):
    with pytest.raises(ServingError) as error:
        Client(url, retries=1, backoff=0).recommend([[]])
    assert error.value.status is None
