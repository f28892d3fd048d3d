"""Whatever is sent to the local server: an answer in JSON, never a 500, never silence."""

import json

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.exporting import DOMAINS
from tests.support.rest_server import raw

MODEL = "/v1/models/syncrec"
FEW = settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

text = st.text(max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | text | st.just("audio") | st.just("")
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=3),
    max_leaves=12,
)
items = st.lists(text | st.just("") | st.fixed_dictionaries({"b64": text}), max_size=5) | anything
domains = st.sampled_from([*DOMAINS, ""]) | anything
fields = {"items": items, "domain": domains}
options = fields | {"k": st.integers(-5, 120) | anything, "exclude_seen": st.booleans() | anything}
rows = st.fixed_dictionaries({}, optional=options) | st.fixed_dictionaries(fields)
columns = st.fixed_dictionaries(
    {}, optional={name: st.lists(value, max_size=3) | anything for name, value in options.items()}
)
requests_ = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from(["serving_default", "with_options", "explain", ""])
        | anything,
        "instances": st.lists(rows, max_size=4) | anything,
        "inputs": columns | anything,
    },
)
session = requests.Session()


def is_an_answer(response):
    assert response.status_code < 500, response.text
    answer = json.loads(response.text)
    if response.status_code == 200:
        assert set(answer) & {"predictions", "outputs", "model_version_status", "model_spec"}
    else:
        assert set(answer) == {"error"} and answer["error"] and len(response.content) < 4000
    return response.status_code


@FEW
@given(body=requests_)
def test_anything_shaped_like_a_request(rest, body):
    data = json.dumps(body)
    is_an_answer(session.post(f"{rest.url}{MODEL}:predict", data=data, timeout=20))


@FEW
@given(
    rows=st.lists(
        st.tuples(st.lists(st.integers(0, 90), max_size=12), st.sampled_from([*DOMAINS, ""])),
        min_size=1,
        max_size=5,
    ),
    k=st.integers(1, 40),
    exclude_seen=st.booleans(),
)
def test_every_good_request_is_answered(rest, rows, k, exclude_seen):
    """Histories of known and unknown items, padded anywhere."""
    ids = [*rest.served.ids, "", "unknown"]
    width = max(len(history) for history, _ in rows)
    instances = [
        {
            "items": [ids[i % len(ids)] for i in history] + [""] * (width - len(history)),
            "domain": domain,
            "k": k,
            "exclude_seen": exclude_seen,
            "allow": [""],
            "deny": [ids[history[0] % len(ids)] if history else ""],
        }
        for history, domain in rows
    ]
    response = session.post(
        f"{rest.url}{MODEL}:predict",
        json={"signature_name": "with_options", "instances": instances},
        timeout=20,
    )
    assert is_an_answer(response) == 200
    for row, answer in zip(instances, response.json()["predictions"], strict=True):
        given_back = [item for item in answer["items"] if item]
        assert len(answer["items"]) == k and len(set(given_back)) == len(given_back)
        assert not (exclude_seen and set(given_back) & set(row["items"]))
        assert not set(given_back) & set(row["deny"])
        assert answer["scores"] == sorted(answer["scores"], reverse=True) or not all(
            answer["items"]
        )


@FEW
@given(data=st.binary(max_size=300))
def test_any_bytes_for_a_body(rest, data):
    assert is_an_answer(session.post(f"{rest.url}{MODEL}:predict", data=data, timeout=20)) == 400


@FEW
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    path=st.text(st.characters(codec="ascii", exclude_characters="?#\n"), max_size=40)
    | st.from_regex(
        r"/v1/models/(syncrec|[a-z]{1,5})(/(versions|labels)/[0-9a-z]{1,30})?(:[a-z]{1,8}|/metadata)?",
        fullmatch=True,
    ),
)
def test_any_path(rest, method, path):
    request = requests.Request(method, f"{rest.url}/", data=b"{}").prepare()
    request.url = f"{rest.url}/x{requests.utils.quote(path, safe='/:.')}"
    is_an_answer(session.send(request, timeout=20))
    request.url = f"{rest.url}{requests.utils.quote('/' + path.lstrip('/'), safe='/:.')}"
    if request.url.removeprefix(rest.url) not in ("/", "/metrics"):
        is_an_answer(session.send(request, timeout=20))


@settings(FEW, max_examples=30)
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_for_a_connection(rest, data):
    """No HTTP at all: the server hangs up or waits for more; it stays up either way."""
    received = raw(rest.port, data + b"\r\n\r\n", seconds=0.2)
    assert not received or received.startswith(b"HTTP/1.1 4")


@pytest.fixture(autouse=True)
def it_still_answers(rest):
    yield
    good = {"instances": [{"items": [""], "domain": ""}]}
    assert session.post(f"{rest.url}{MODEL}:predict", json=good, timeout=20).status_code == 200
    assert rest.server._active == 0
