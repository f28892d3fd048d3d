"""Nobody who sends half of something, nothing, or does not read keeps others from the server."""

import contextlib
import dataclasses
import http.client
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from serving.server.limits import Limits
from serving.server.web import FILES, web_server
from tests.support.rest_server import put, raw, running, wait_for

LIMITS = Limits(
    connections=20,
    head_seconds=0.6,
    body_seconds=0.6,
    idle_seconds=2,
    answer_seconds=0.6,
    active=4,
    body=200_000,
)
SLACK = 4.0
"""Seconds for a machine that is busy with other tests."""
MODEL = "/v1/models/syncrec"
BODY = {"instances": [{"items": [""], "domain": ""}]}
POST = f"POST {MODEL}:predict HTTP/1.1\r\nhost: x\r\n"
GET = f"GET {MODEL} HTTP/1.1\r\nhost: x\r\n\r\n"
HALVES = {
    "nothing": "",
    "a byte": "G",
    "half a line": "GET / HT",
    "half a head": "GET / HTTP/1.1\r\nhost: x\r\n",
    "half a body": POST + "content-length: 99\r\n\r\n{",
    "half a chunk": POST + "transfer-encoding: chunked\r\n\r\n5\r\n{",
    "half of a second one": GET + "GET / HT",
    "a whole one": GET,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    base = tmp_path_factory.mktemp("tiny")
    put(base, 1)
    with running(base, LIMITS, seconds=1000) as rest:
        rest.base = base
        yield rest


@pytest.fixture(scope="module")
def patient(tiny):
    """The same model, by a server whose times never come; so many connections it holds, too."""
    never = dataclasses.replace(
        LIMITS, head_seconds=60, body_seconds=60, idle_seconds=60, answer_seconds=60
    )
    with running(tiny.base, never, seconds=1000) as rest:
        yield rest


@contextlib.contextmanager
def connections(port, count, data):
    """So many connections, each of which has sent `data`."""
    with contextlib.ExitStack() as ends:
        there = []
        for _ in range(count):
            there.append(ends.enter_context(socket.create_connection(("127.0.0.1", port), 10)))
            with contextlib.suppress(ConnectionError):
                there[-1].sendall(data)
        yield there


def seconds_until_closed(connection):
    """And what came until then."""
    start, received = time.monotonic(), b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return time.monotonic() - start, received


def everybody_is_answered(rest):
    assert requests.get(rest.url + MODEL, timeout=10).status_code == 200
    assert requests.get(rest.url + "/metrics", timeout=10).status_code == 200
    assert requests.post(f"{rest.url}{MODEL}:predict", json=BODY, timeout=10).status_code == 200


@pytest.mark.parametrize("half", HALVES)
def test_as_many_as_the_server_holds_and_more_shut_nobody_out(patient, half):
    with connections(patient.port, 3 * LIMITS.connections, HALVES[half].encode()) as there:
        if GET in HALVES[half]:  # who comes while all are being answered is turned away
            for one in there:
                with contextlib.suppress(ConnectionError):
                    one.recv(65536)
        everybody_is_answered(patient)
        held = [o for o in patient.web.server_state.connections if not o.transport.is_closing()]
        assert 0 < len(held) <= LIMITS.connections


def test_the_one_that_has_waited_longest_makes_room(patient):
    with connections(patient.port, 2, b"") as (first, second):
        second.sendall(GET.encode())  # the first one has waited longer than it now
        assert second.recv(65536).startswith(b"HTTP/1.1 200")
        with connections(patient.port, LIMITS.connections - 1, b""):
            assert seconds_until_closed(first)[0] < 10
            second.sendall(GET.encode())
            received = b""  # what is left of the first answer may come before
            while b"HTTP/1.1 200" not in received:
                more = second.recv(65536)
                assert more
                received += more


def test_who_stops_half_way_is_not_waited_for(tiny):
    """Nor who is silent after an answer."""

    def ask(half):
        with connections(tiny.port, 1, HALVES[half].encode()) as (one,):
            return seconds_until_closed(one)

    with ThreadPoolExecutor(len(HALVES)) as threads:
        found = dict(zip(HALVES, threads.map(ask, HALVES), strict=True))
    for half, (seconds, received) in found.items():
        most = LIMITS.idle_seconds if "one" in half else LIMITS.head_seconds
        assert LIMITS.head_seconds - 0.3 < seconds < most + SLACK, half
        told = half not in ("nothing", "a whole one", "half of a second one")
        assert (b"HTTP/1.1 408" in received) == told, half


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        # Refused before its body, which goes on and on.
        POST + "content-encoding: br\r\ncontent-length: 9999\r\n\r\n",
        # And after a request that was answered.
        GET + "GET / HTTP/1.1\r\n",
    ],
    ids=["a head", "a body after its answer", "a second head"],
)
def test_who_sends_a_byte_at_a_time_is_not_waited_for(tiny, head):
    with connections(tiny.port, 1, head.encode()) as (one,):
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + 10:
                one.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - start < LIMITS.idle_seconds + SLACK


def test_who_does_not_read_is_not_waited_for(tiny):
    # Of the little that the system takes over in his place, the server knows nothing.
    request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(10)
        one.connect(("127.0.0.1", tiny.port))
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < start + 10:
                one.sendall(request * 20)
                time.sleep(0.01)
        assert time.monotonic() - start < 9
    everybody_is_answered(tiny)


def test_a_quiet_client_that_is_in_nobodys_way_keeps_its_connection(tiny):
    connection = http.client.HTTPConnection("127.0.0.1", tiny.port, timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(4):
        connection.request("GET", MODEL)
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read()
        assert connection.sock is first
        time.sleep(0.4)  # longer in all than any of the limits
    connection.close()


def test_who_watches_is_answered_whatever_the_load(tiny, monkeypatch):
    """With all threads at work, and with as many requests as the server takes."""
    go = threading.Event()
    original = tiny.server.api._predict
    monkeypatch.setattr(
        tiny.server.api, "_predict", lambda *request: go.wait(30) and original(*request)
    )
    statuses = []

    def ask():
        answer = requests.post(f"{tiny.url}{MODEL}:predict", json=BODY, timeout=60)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(3 * LIMITS.active)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(statuses) >= 2 * LIMITS.active)
    for path in (MODEL, f"{MODEL}/versions/1", f"{MODEL}/metadata", "/metrics", "/"):
        start = time.monotonic()
        assert requests.get(tiny.url + path, timeout=10).status_code == 200
        assert time.monotonic() - start < SLACK
    go.set()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [200] * LIMITS.active + [503] * 2 * LIMITS.active


def test_bodies_that_are_held_are_bounded_together(tiny):
    """Each of them is within the limit, and all come in at a time."""
    head = POST + f"content-length: {LIMITS.body}\r\n\r\n"
    most = LIMITS.active * LIMITS.body
    with connections(tiny.port, LIMITS.active + 1, head.encode() + b" " * (LIMITS.body - 1)):
        time.sleep(0.2)
        assert 0 < tiny.server._bodies._held <= most
    wait_for(lambda: not tiny.server._bodies._held)


def test_so_many_files_may_be_open_as_there_are_connections(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr("resource.setrlimit", lambda kind, limits: asked.append(limits))
    for known, most in (
        ((1024, 1 << 20), Limits().connections),
        ((1024, 1024), 1024 - 512),
        ((1 << 20, 1 << 20), Limits().connections),
        ((-1, -1), Limits().connections),
        ((64, 64), 16),
    ):
        monkeypatch.setattr("resource.getrlimit", lambda kind, known=known: known)
        monkeypatch.setattr(tiny.server, "limits", Limits())
        found: type = web_server(tiny.server).config.http  # type: ignore[assignment]
        assert found.limits.connections == most  # type: ignore[attr-defined]
    assert asked == [(FILES, 1 << 20)]


def test_what_is_no_http_is_told_so(tiny):
    assert raw(tiny.port, b"\x16\x03\x01\r\n\r\n").startswith(b"HTTP/1.1 400")
