"""The client batches, pads and retries, and says what the signature says."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from serving.client import Client, ServingError
from tests.support.exporting import DOMAINS, TOP_K, random_histories


def same(first, second):
    assert [(a.items, a.domains, a.known_items, a.fallback) for a in first] == [
        (b.items, b.domains, b.known_items, b.fallback) for b in second
    ]
    for a, b in zip(first, second, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-3)


def test_batches_of_one_and_of_many_agree(rest):
    histories = [*random_histories(rest.served, 20, seed=41), [], ["unknown"]]
    domains = [[*DOMAINS, ""][i % 5] for i in range(len(histories))]
    whole = Client(rest.url, batch_size=64).recommend(histories, domains)
    for size in (1, 7, len(histories)):
        same(Client(rest.url, batch_size=size).recommend(histories, domains), whole)
    for history, domain, answer in zip(histories, domains, whole, strict=True):
        assert len(answer.items) == len(answer.scores) == len(answer.domains) <= TOP_K
        assert all(answer.items) and not set(answer.items) & set(history)
        assert set(answer.domains) <= ({domain} if domain else set(DOMAINS))
        assert answer.known_items == sum(item in rest.served.ids for item in history)
        assert answer.fallback == (answer.known_items == 0)
        assert bool(answer.items) == (domain != "empty")


def test_options_hold_for_all_or_for_each(rest):
    histories = random_histories(rest.served, 3, seed=42)
    client = Client(rest.url, batch_size=2)
    plain = client.recommend(histories, "audio")
    same(client.recommend(histories, "audio", k=TOP_K), plain)
    same(client.recommend(iter(histories), ["audio"] * 3, exclude_seen=True), plain)
    each = client.recommend(histories, "", k=[1, 12, 3], exclude_seen=[True, False, True])
    assert [len(answer.items) for answer in each] == [1, 12, 3]
    with pytest.raises(ValueError, match="3 histories, received 2"):
        client.recommend(histories, ["audio", "books"])
    assert client.recommend([]) == []
    same(client.recommend(histories), client.recommend(histories, ""))


@pytest.mark.parametrize("histories", ["a", ["a", "b"], {"ann": ["a"]}, [{"ann": ["a"]}]])
def test_histories_that_are_no_lists_are_refused(histories):
    with pytest.raises(ValueError, match="histories: expected lists of item ids, received"):
        Client("http://127.0.0.1:1").recommend(histories)
    with pytest.raises(ValueError, match="histories: expected lists of item ids, received"):
        Client("http://127.0.0.1:1").explain(histories)


def test_explain_and_status(rest):
    explained = Client(rest.url, batch_size=2).explain([[], rest.served.ids[:2], []])
    assert [row["known_items"] for row in explained] == [0, 2, 0]
    assert all(row["domains"] == list(DOMAINS) for row in explained)
    (status,) = Client(rest.url).status()
    assert (status["version"], status["state"]) == ("1", "AVAILABLE")


def test_refusals_say_why(rest):
    with pytest.raises(ServingError, match="unknown domain; known: audio") as error:
        Client(rest.url).recommend([[]], "film")
    assert error.value.status == 400
    with pytest.raises(ServingError, match="Servable not found") as error:
        Client(rest.url, version=9).recommend([[]])
    assert error.value.status == 404
    with pytest.raises(ServingError, match="label: a b"):
        Client(rest.url, label="a b").recommend([[]])
    with pytest.raises(ValueError, match="not both"):
        Client(rest.url, label="stable", version=1)
    with pytest.raises(ServingError) as error:
        Client("http://127.0.0.1:1", retries=1, backoff=0).recommend([[]])
    assert error.value.status is None


@pytest.fixture
def moody():
    """A server that answers as `script` says, in turn; it keeps what it was asked."""

    asked: list[Any] = []
    script: list[tuple] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            status, body = script.pop(0)
            if status is None:  # hangs up
                self.close_connection = True
                return
            self.send_response(status)
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    yield SimpleNamespace(url=url, asked=asked, script=script)
    server.shutdown()
    server.server_close()


def outputs(rows):
    return {
        "outputs": {
            "items": [["a", "b", ""]] * rows,
            "scores": [[2.0, 1.0, 0.0]] * rows,
            "domains": [["x", "x", ""]] * rows,
            "known_items": [1] * rows,
            "fallback": [0] * rows,
        }
    }


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
    moody.script += [(503, {"error": "busy"})] * 5
    with pytest.raises(ServingError, match="503: busy"):
        Client(moody.url, retries=2, backoff=0).recommend([["a"]])
    assert len(moody.asked) == 3
    moody.script[:] = [(400, {"error": "no"}), (500, b"<html>oops</html>")]
    for message in ("400: no", "500: <html>oops"):
        with pytest.raises(ServingError, match=message):
            Client(moody.url, backoff=0).recommend([["a"]])
    assert len(moody.asked) == 5


def test_it_needs_no_tensorflow():
    heavy = "{'tensorflow', 'tf_syncrec', 'numpy'}"
    code = f"import sys, serving.client; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
