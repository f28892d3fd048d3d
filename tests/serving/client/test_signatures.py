"""What a model takes is looked up seldom, and a server that does not say does little harm."""

from typing import Any

import pytest

from serving.client import ServingError, signatures
from serving.client.signatures import Signatures


class Server:
    """Answers by what a test puts there."""

    def __init__(self):
        self.says: Any = metadata(serving_default={"items"})
        self.asked = 0

    def call(self, method, url):
        assert (method, url) == ("GET", "http://host/v1/models/m/metadata")
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def metadata(**names):
    found = {name: {"inputs": dict.fromkeys(inputs, "")} for name, inputs in names.items()}
    return {"metadata": {"signature_def": {"signature_def": found}}}


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(signatures.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def known(clock, server):
    return Signatures(server, "http://host/v1/models/m")


def test_a_server_is_asked_once_a_minute(known, server, clock):
    for _ in range(3):
        assert known.inputs() == {"serving_default": {"items"}}
    assert server.asked == 1
    server.says = metadata(with_times={"items", "timestamps"})
    clock[0] += signatures.SECONDS
    assert known.inputs() == known.inputs() == {"with_times": {"items", "timestamps"}}
    assert server.asked == 2


def test_what_was_known_is_known_while_it_does_not_say(known, server, clock):
    before = known.inputs()
    server.says = ServingError(503, "busy")
    clock[0] += signatures.SECONDS
    assert known.inputs() == known.inputs() == before
    assert server.asked == 2  # and is not asked by every request meanwhile
    server.says = metadata(top_k={"k"})
    clock[0] += signatures.SECONDS
    assert known.inputs() == {"top_k": {"k"}}


def test_nothing_is_known_of_a_server_that_never_said(known, server):
    server.says = ServingError(404, "no such model")
    with pytest.raises(ServingError, match="no such model"):
        known.inputs()


def test_it_tells_whether_something_changed(known, server):
    known.inputs()
    assert not known.changed()
    server.says = metadata(top_k={"k"})
    assert known.changed() and not known.changed()


@pytest.mark.parametrize(
    "document",
    [
        *(None, [], {}, {"metadata": 3}, {"metadata": {"signature_def": {"signature_def": []}}}),
        *(metadata(), {"error": "x"}),
    ],
    ids=repr,
)
def test_what_is_no_metadata_is_refused(known, server, document):
    server.says = document
    with pytest.raises(ServingError, match="200: expected the metadata"):
        known.inputs()
