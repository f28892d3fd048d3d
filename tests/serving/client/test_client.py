"""The client batches and pads, and says what the signature says."""

import subprocess
import sys

import pytest

from serving.client import Client, ServingError
from serving.client.connection import Connection
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


def test_each_row_is_asked_of_its_label_and_answered_in_its_place(monkeypatch):
    """A server that says who was asked for whom."""
    asked = []

    def call(self, method, url, request):
        asked.append(url)
        rows = request["inputs"]["items"]
        whom = [f"{url.split('/v1/models/')[1]} {row[-1]} {row[0]}" for row in rows]
        return {
            "outputs": {
                "items": [[said] for said in whom],
                "scores": [[k] for k in request["inputs"]["k"]],
                "domains": [[domain] for domain in request["inputs"]["domain"]],
                "known_items": [1] * len(rows),
                "fallback": [0] * len(rows),
            }
        }

    monkeypatch.setattr(Connection, "call", call)
    client = Client("http://x/", label="old", batch_size=2)
    labels = ["a", "b b", "a", "a"]
    histories = [[f"i{n}"] for n in range(4)]
    found = client.recommend(histories, [*"wxyz"], k=[1, 2, 3, 4], labels=iter(labels))
    for n, (label, answer) in enumerate(zip(labels, found, strict=True)):
        place = label.replace(" ", "%20")
        assert answer.items == [f"syncrec/labels/{place}:predict i{n} i{n}"]
        assert (answer.scores, answer.domains) == ([n + 1], ["wxyz"[n]])
    assert len(asked) == 3  # batches of two, of one label each
    assert client.recommend([["i"]], k=1)[0].items == ["syncrec/labels/old:predict i i"]
    assert client.recommend([["i"]], k=1, labels="c")[0].items == ["syncrec/labels/c:predict i i"]
    assert client.recommend([], labels=[]) == []
    with pytest.raises(ValueError, match="4 histories, received 1"):
        client.recommend(histories, labels=["a"])
    with pytest.raises(ValueError, match="labels: expected names"):
        client.recommend(histories, labels="")
    with pytest.raises(ValueError, match="asks version 7 alone"):
        Client("http://x", version=7).recommend(histories, labels="a")


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0}, {"timeout": float("nan")}, {"retries": -1}, {"backoff": -1.0}]
)
def test_limits_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        Client("http://127.0.0.1:1", **wrong)


def test_it_needs_no_tensorflow():
    heavy = "{'tensorflow', 'tf_syncrec', 'numpy'}"
    code = f"import sys, serving.client, serving.histories.redis; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
