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


NEW = {
    "serving_default": {"items", "domain"},
    "top_k": {"items", "domain", "k"},
    "filtered": {"items", "domain", "k", "allow", "deny"},
    "with_options": {"items", "domain", "k", "exclude_seen", "allow", "deny"},
}
VERSIONS = {
    "new": NEW,
    # Before there were filters.
    "old": {
        "serving_default": NEW["serving_default"],
        "top_k": NEW["top_k"],
        "with_options": NEW["with_options"] - {"allow", "deny"},
    },
    # People come back to items: times have a say.
    "timed": {name: inputs | {"timestamps", "now"} for name, inputs in NEW.items()}
    | {
        "serving_default": NEW["serving_default"],
        "top_k": NEW["top_k"],
        "with_times": NEW["top_k"] | {"timestamps", "now"},
    },
    # Users are known.
    "users": {name: inputs | {"user_id"} for name, inputs in NEW.items()},
}


class Strict:
    """A server of these versions that, as TensorFlow Serving, takes their inputs and no others."""

    def __init__(self, monkeypatch):
        self.asked = []
        monkeypatch.setattr(Connection, "call", lambda _, *request: self.call(*request))

    def call(self, method, url, request=None):
        if method == "GET":
            inputs = VERSIONS[url.split("/labels/")[1].split("/")[0]]
            found = {name: {"inputs": dict.fromkeys(names)} for name, names in inputs.items()}
            return {"metadata": {"signature_def": {"signature_def": found}}}
        label = url.split("/labels/")[1].split(":")[0]
        name, inputs = request["signature_name"], request["inputs"]
        if inputs.keys() != VERSIONS[label].get(name):
            raise ServingError(400, f"{label} {name}: received {sorted(inputs)}")
        self.asked.append((label, name, inputs))
        rows = len(inputs["items"])
        outputs = {"items": [[label]] * rows, "scores": [[1.0]] * rows, "domains": [["d"]] * rows}
        return {"outputs": outputs | {"known_items": [1] * rows, "fallback": [0] * rows}}


@pytest.mark.parametrize("url", ["new", "old", "timed"])
@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, ["new", "old", "timed"]),
        ({"exclude_seen": True}, ["new", "old", "timed"]),
        ({"exclude_seen": True, "timestamps": [[1.0]] * 3}, ["timed", "old", "new"]),
        ({"timestamps": [[1.0]] * 3, "now": 2.0}, ["timed", "old", "new"]),
        ({"deny": ["x"]}, ["new", "timed", "new"]),
        ({"allow": ["x"], "timestamps": [[1.0]] * 3}, ["new", "timed", "timed"]),
        ({"user_ids": ["u", "v", "w"]}, ["users", "old", "timed"]),
    ],
    ids=str,
)
def test_each_label_is_asked_by_what_its_version_takes(monkeypatch, url, options, labels):
    """Whatever version the client itself is of."""
    server = Strict(monkeypatch)
    found = Client("http://x", label=url).recommend([["i"]] * 3, "d", labels=labels, **options)
    assert [answer.items for answer in found] == [[label] for label in labels]
    for label, name, inputs in server.asked:
        if label == "timed" and "timestamps" in options:
            assert name != "top_k" and set(map(tuple, inputs["timestamps"])) == {(1.0,)}


def test_a_version_without_filters_refuses_them(monkeypatch):
    """Not to be left out: what was denied would come."""
    Strict(monkeypatch)
    with pytest.raises(ServingError, match="400: old filtered"):
        Client("http://x", label="new").recommend([["i"]], "d", labels="old", deny=["x"])


class OneUser:
    """A store."""

    def latest(self, user_id):
        return [("i", 5.0)] if user_id == "u" else []


@pytest.mark.parametrize("label", ["new", "old", "timed", "users"])
def test_one_user_is_asked_of_a_label_with_filters(monkeypatch, label):
    server = Strict(monkeypatch)
    client = Client("http://x", label="new", histories=OneUser())
    for user in ("u", "nobody"):
        assert client.recommend_user(user, "d", label=label).items == [label]
        seen = client.recommend_user(user, "d", exclude_seen=True, label=label)
        assert seen.items == [label]
    times = [inputs.get("timestamps") for _, _, inputs in server.asked]
    timed = label == "timed"
    assert times == ([[[5.0]], [[5.0]], None, [[0.0]]] if timed else [None] * 4)
    # As many for whoever has no history.
    assert [inputs.get("k") for _, _, inputs in server.asked[::2]] == [[10] if timed else None] * 2
    if label == "old":
        return
    client.recommend_user("u", "d", 3, allow=iter(["a", ""]), deny=["b"], label=label)
    _, name, inputs = server.asked[-1]
    assert (name, inputs["allow"], inputs["deny"], inputs["k"]) == (
        "filtered",
        [["a"]],
        [["b"]],
        [3],
    )
    with pytest.raises(TypeError, match="allow: expected a list of item ids, received 'ab'"):
        client.recommend_user("u", "d", allow="ab")


@pytest.mark.parametrize("allow", [[], [""], [[""], ["a"]], [["a"], ["", ""]]], ids=str)
def test_a_list_that_allows_nothing_is_refused(monkeypatch, allow):
    """An empty id alone would be sent as a list that allows everything."""
    with pytest.raises(ValueError, match="allow: expected item ids, received an empty list"):
        Client("http://127.0.0.1:1").recommend([["i"]] * 2, allow=allow)
    if allow in ([], [""]):
        Strict(monkeypatch)
        with pytest.raises(ValueError, match="allow: expected item ids"):
            Client("http://x", label="new", histories=OneUser()).recommend_user("u", allow=allow)


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
