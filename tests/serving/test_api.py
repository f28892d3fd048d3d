"""The local server speaks TensorFlow Serving's REST contract, also to those who do not."""

import base64
import json
import socket
import threading

import numpy as np
import pytest
import requests

from data_prep import InputError
from serving import local_server
from serving.server.rest_api import RestApi
from tests.support.exporting import DOMAINS, MAX_K, padded, random_histories
from tests.support.rest_server import LIMITS, put, raw, running, wait_for

MODEL = "/v1/models/syncrec"
OUTPUTS = {"items", "scores", "domains", "known_items", "fallback"}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two versions, both served, one of them labelled."""
    base = tmp_path_factory.mktemp("labelled")
    for number in (1, 3):
        put(base, number)
    file = base / "models.config"
    file.write_text(
        'model_config_list { config { name: "syncrec" base_path: "/elsewhere" '
        "model_version_policy { all { } } "
        'version_labels { key: "stable" value: 1 } version_labels { key: "gone" value: 2 } } }'
    )
    with running(base, LIMITS, file) as rest:
        rest.file = file
        yield rest


def predict(rest, body, path=MODEL):
    data = body if isinstance(body, bytes | str) else json.dumps(body)
    return requests.post(f"{rest.url}{path}:predict", data=data, timeout=30)


def instances(rows):
    return {"instances": [{"items": items, "domain": domain} for items, domain in rows]}


# ------------------------------------------------------------------------------------- contract


def test_rows_and_columns_agree_with_the_signature(rest):
    histories = [*random_histories(rest.served, 9, seed=31), [], ["unknown"]]
    domains = [[*DOMAINS, ""][i % 5] for i in range(len(histories))]
    items = padded(histories)
    rows = predict(rest, instances(zip(items, domains, strict=True)))
    columns = predict(rest, {"inputs": {"items": items, "domain": domains}})
    assert (rows.status_code, columns.status_code) == (200, 200)
    assert set(rows.json()) == {"predictions"} and set(columns.json()) == {"outputs"}
    outputs = columns.json()["outputs"]
    assert set(outputs) == OUTPUTS
    for i, row in enumerate(rows.json()["predictions"]):
        assert row == {name: outputs[name][i] for name in OUTPUTS}
    _, version = rest.server.api.versions.find()
    with_tensors = version.run(
        "serving_default",
        {"items": np.array(items, object), "domain": np.array(domains, object)},
    )
    assert outputs["known_items"] == with_tensors["known_items"].tolist()
    assert outputs["known_items"] == [len(history) for history in histories[:9]] + [0, 0]
    assert [[item.encode() for item in row] for row in outputs["items"]] == with_tensors[
        "items"
    ].tolist()
    # The decimals say exactly which float32 it was.
    assert (np.array(outputs["scores"], np.float32) == with_tensors["scores"]).all()


def test_options_and_explain(rest):
    known = rest.served.ids[:3]
    request = {"items": known, "domain": "audio", "k": 2, "exclude_seen": False}
    request |= {"allow": [""], "deny": known}
    answer = predict(rest, {"signature_name": "with_options", "instances": [request]})
    assert len(answer.json()["predictions"][0]["items"]) == 2
    # A signature of one input takes values without its name, too.
    answers = [
        predict(rest, {"signature_name": "explain"} | body).json()
        for body in (
            {"instances": [known]},
            {"instances": [{"items": known}]},
            {"inputs": [known]},
            {"inputs": {"items": [known]}},
        )
    ]
    assert answers[0] == answers[1] and answers[2] == answers[3]
    (row,) = answers[0]["predictions"]
    assert row == {name: value[0] for name, value in answers[2]["outputs"].items()}
    assert row["domains"] == list(DOMAINS) and row["known_items"] == 3


def test_binary_strings(rest):
    item = rest.served.ids[0]
    encoded = {"b64": base64.b64encode(item.encode()).decode()}
    plain = predict(rest, instances([([item, ""], "audio")])).json()
    assert predict(rest, instances([([encoded, ""], {"b64": "YXVkaW8="})])).json() == plain
    assert plain["predictions"][0]["known_items"] == 1


def test_status_and_metadata(rest):
    status = requests.get(rest.url + MODEL, timeout=10).json()
    assert status == {
        "model_version_status": [
            {
                "version": "1",
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
        ]
    }
    for path in (MODEL, f"{MODEL}/versions/1"):
        metadata = requests.get(f"{rest.url}{path}/metadata", timeout=10).json()
        assert metadata["model_spec"] == {"name": "syncrec", "signature_name": "", "version": "1"}
        signatures = metadata["metadata"]["signature_def"]["signature_def"]
        assert set(signatures) == {
            "serving_default",
            "top_k",
            "filtered",
            "with_options",
            "each_domain",
            "each_domain_filtered",
            "explain",
            "explain_items",
        }
        signature = signatures["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["items"]["dtype"] == "DT_STRING"
        shape = signature["inputs"]["items"]["tensor_shape"]
        assert [dim["size"] for dim in shape["dim"]] == ["-1", "-1"]
        assert set(signature["outputs"]) == OUTPUTS


def test_versions_and_labels(labelled):
    body = instances([([""], "")])
    for path in ("", "/versions/1", "/versions/3", "/labels/stable"):
        assert predict(labelled, body, MODEL + path).status_code == 200
        assert requests.get(labelled.url + MODEL + path, timeout=10).status_code == 200
    for path, number in (("", 3), ("/versions/1", 1), ("/labels/stable", 1)):
        answer = predict(labelled, body, MODEL + path).json()
        assert answer == {"predictions": [{"version": number}]}
        metadata = requests.get(f"{labelled.url}{MODEL}{path}/metadata", timeout=10).json()
        assert metadata["model_spec"]["version"] == str(number)
    assert predict(labelled, body, MODEL + "/versions/2").status_code == 404
    assert predict(labelled, body, MODEL + "/labels/gone").status_code == 404
    unknown = predict(labelled, body, MODEL + "/labels/canary")
    assert unknown.status_code == 400
    assert "Unrecognized servable version label: canary" in unknown.json()["error"]
    # A promotion is an edit of the file; half an edit changes nothing.
    text = labelled.file.read_text()
    labelled.file.write_text("model_config_list {")
    labelled.watcher.look()
    assert predict(labelled, body, MODEL + "/labels/stable").status_code == 200
    labelled.file.write_text(text.replace('key: "gone" value: 2', 'key: "canary" value: 3'))
    wait_for(lambda: "canary" in labelled.server.api.config.labels)
    assert predict(labelled, body, MODEL + "/labels/canary").status_code == 200
    assert predict(labelled, body, MODEL + "/labels/gone").status_code == 400


def test_the_largest_version_can_be_asked_for(tmp_path):
    largest = 2**63 - 1
    put(tmp_path, largest, says=1)
    with running(tmp_path) as rest:
        body = instances([([""], "")])
        for number in (largest, f"0000{largest}"):
            assert predict(rest, body, f"{MODEL}/versions/{number}").status_code == 200
        for number in (largest + 1, "9" * 30, "1" * 5000):
            refused = predict(rest, body, f"{MODEL}/versions/{number}")
            assert refused.status_code == 400
            assert "Failed to convert version" in refused.json()["error"]


@pytest.mark.parametrize("path", ["", "/metadata"])
def test_a_label_that_goes_while_it_is_asked_for_is_no_mistake_of_ours(labelled, path):
    class Going:
        """As the watcher may replace it between two questions."""

        name = "syncrec"
        asked = 0

        @property
        def labels(self):
            self.asked += 1
            return {"stable": 1} if self.asked < 2 else {}

    api = RestApi(labelled.server.api.versions, Going(), LIMITS)  # type: ignore[arg-type]
    assert api.answer("GET", f"{MODEL}/labels/stable{path}", b"")


# ---------------------------------------------------------------------------------------- refusals

GOOD = {"items": [""], "domain": ""}
OPTIONS = {"items": [""], "domain": "", "k": 1, "exclude_seen": True, "allow": [""], "deny": [""]}
REFUSED = {
    "empty": (b"", "JSON Parse error"),
    "no json": (b"items=a", "JSON Parse error"),
    "no utf-8": (b'{"instances": ["\xff"]}', "JSON Parse error"),
    "cut off": (json.dumps({"instances": [GOOD]})[:-1], "JSON Parse error"),
    "deep": ("[" * 90_000, "nested too deeply"),
    "deep and closed": ("[" * 50_000 + "]" * 50_000, "nested too deeply"),
    "deep object": ('{"a":' * 20_000 + "1" + "}" * 20_000, "nested too deeply"),
    "deep value": (
        {"instances": [{"items": [json.loads("[" * 400 + "]" * 400)], "domain": ""}]},
        "items",
    ),
    "long integer": ('{"instances": ' + "9" * 9000 + "}", "JSON Parse error"),
    "a list": ([GOOD], "Is not object"),
    "nothing asked": ({}, "Missing 'inputs' or 'instances' key"),
    "both asked": ({"inputs": {}, "instances": [GOOD]}, "only one of"),
    "no rows": ({"instances": []}, "No values"),
    "rows no list": ({"instances": GOOD}, "list/array"),
    "no columns": ({"inputs": {"items": [], "domain": []}}, "No rows"),
    "plain rows": ({"instances": [["a"]]}, "list of objects"),
    "plain columns": ({"inputs": [["a"]]}, "expecting an object"),
    "row without domain": ({"instances": [{"items": [""]}]}, "keys must be equal to"),
    "row with more": ({"instances": [GOOD | {"k": 1}]}, "keys must be equal to"),
    "column missing": ({"inputs": {"items": [[""]]}}, "Missing named input: domain"),
    "ragged": (instances([([""], ""), (["a", "b"], "")]), "unexpected size: 2"),
    "no list": (instances([("a", "")]), "a list is expected"),
    "too deep by one": (instances([([["a"]], "")]), "expected type"),
    "domain a list": (instances([([""], ["audio"])]), "expected type"),
    "number for text": (instances([([5], "")]), "5 is not of expected type: string"),
    "null": (instances([([None], "")]), "null is not of expected type"),
    "NaN": (instances([([float("nan")], "")]), "expected type"),
    "half a surrogate": ('{"instances": [{"items": ["\\ud800"], "domain": ""}]}', "not UTF-8"),
    "base64": (instances([([{"b64": "*"}], "")]), "base64"),
    "object": (instances([([{"x": "a"}], "")]), "expected type"),
    "more columns than rows": ({"inputs": {"items": [[""]], "domain": ["", ""]}}, "as many rows"),
    "signature": ({"signature_name": "nope", "instances": [GOOD]}, '"nope" not found'),
    "signature a number": ({"signature_name": 1, "instances": [GOOD]}, "must be a string"),
    "domain": (instances([([""], "film")]), "unknown domain; known: audio, books, empty, música"),
    "long history": (
        instances([(["a"] * 1001, "")]),
        "1001 elements a row, and 1000 are the limit",
    ),
    "many rows": (instances([([""], "")] * 65), "65 rows, and 64 are the limit"),
    "k text": ({"signature_name": "with_options", "instances": [OPTIONS | {"k": "1"}]}, "int32"),
    "k true": ({"signature_name": "with_options", "instances": [OPTIONS | {"k": True}]}, "int32"),
    "k a fraction": (
        {"signature_name": "with_options", "instances": [OPTIONS | {"k": 1.5}]},
        "int32",
    ),
    "k huge": ({"signature_name": "with_options", "instances": [OPTIONS | {"k": 2**31}]}, "int32"),
    "k 0": ({"signature_name": "with_options", "instances": [OPTIONS | {"k": 0}]}, "between 1 and"),
    "k too large": (
        {"signature_name": "with_options", "instances": [OPTIONS | {"k": MAX_K + 1}]},
        f"between 1 and {MAX_K}",
    ),
    "seen a number": (
        {"signature_name": "with_options", "instances": [OPTIONS | {"exclude_seen": 1}]},
        "bool",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_is_told_what_is_wrong(rest, case):
    body, message = REFUSED[case]
    answer = predict(rest, body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"} and message in answer.json()["error"]
    assert len(answer.text) < 1000
    assert answer.headers["content-type"] == "application/json"


PATHS = {
    ("POST", "/v1/models/other:predict"): 404,
    ("POST", "/v1/models/syncrec/versions/7:predict"): 404,
    ("POST", "/v1/models/syncrec/versions/99999999999999999999:predict"): 400,
    ("POST", "/v1/models/syncrec/versions/x:predict"): 400,
    ("POST", "/v1/models/syncrec/labels/x:predict"): 400,
    ("POST", "/v1/models/syncrec:classify"): 400,
    ("POST", "/v1/models/syncrec:regress"): 400,
    ("POST", "/v1/models/syncrec"): 400,
    ("GET", "/v1/models/syncrec:predict"): 400,
    ("PUT", "/v1/models/syncrec:predict"): 400,
    ("DELETE", "/v1/models/syncrec"): 400,
    ("GET", "/v1/models"): 400,
    ("GET", "/v1/models/other"): 404,
    ("GET", "/v1/models/other/metadata"): 404,
    ("GET", "/v1/models/syncrec/versions/7"): 404,
    ("GET", "/v1/models/syncrec/versions/7/metadata"): 404,
    ("GET", "/v1/models/syncrec/../../../etc/passwd"): 400,
    ("GET", "/nothing"): 400,
}


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_wrong_paths(rest, method, path):
    request = requests.Request(method, rest.url, json={"instances": [GOOD]}).prepare()
    request.url = rest.url + path  # as it is, dots and all
    answer = requests.Session().send(request, timeout=30)
    assert answer.status_code == PATHS[method, path]
    assert set(answer.json()) == {"error"}


# ------------------------------------------------------------------------------------------ limits


def head(length=None, path=MODEL):
    said = f"content-length: {length}" if length is not None else "transfer-encoding: chunked"
    return f"POST {path}:predict HTTP/1.1\r\nhost: x\r\n{said}\r\n\r\n".encode()


def test_a_million_items_are_refused(rest):
    answer = predict(rest, instances([(["a"] * 10**6, "")]))
    assert answer.status_code == 413 and "larger than 200000 bytes" in answer.json()["error"]


def test_the_size_is_that_of_the_body_and_not_what_it_says(rest):
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert raw(rest.port, head() + chunk * 8).startswith(b"HTTP/1.1 413")
    # Told before a byte of it is sent.
    assert raw(rest.port, head(10**12)).startswith(b"HTTP/1.1 413")
    assert raw(rest.port, head("9" * 4000)).startswith(b"HTTP/1.1 4")


def test_who_sends_too_slowly_is_told_so(rest):
    assert raw(rest.port, head(100) + b"{").startswith(b"HTTP/1.1 408")
    assert raw(rest.port, head() + b"1\r\n{\r\n").startswith(b"HTTP/1.1 408")


def test_too_many_at_a_time_are_told_to_come_again(rest, monkeypatch):
    go, answered = threading.Event(), []
    original = rest.server.api.answer

    def slow(*request):
        go.wait(30)
        return original(*request)

    monkeypatch.setattr(rest.server.api, "answer", slow)
    ask = lambda: answered.append(predict(rest, instances([([""], "")])))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(LIMITS.active)]
    for thread in threads:
        thread.start()
    wait_for(lambda: rest.server._active == LIMITS.active)
    refused = predict(rest, instances([([""], "")]))
    assert refused.status_code == 503 and refused.headers["retry-after"] == "1"
    assert "Too many requests" in refused.json()["error"]
    go.set()
    for thread in threads:
        thread.join(30)
    assert [answer.status_code for answer in answered] == [200] * LIMITS.active
    assert predict(rest, instances([([""], "")])).status_code == 200


def test_a_mistake_of_ours_is_an_answer_too(rest, monkeypatch):
    monkeypatch.setattr(rest.server.api, "_predict", lambda *request: 1 / 0)
    answer = predict(rest, instances([([""], "")]))
    assert answer.status_code == 500 and set(answer.json()) == {"error"}
    assert "ZeroDivision" not in answer.text


def test_answers_do_not_wait_for_acknowledgements():
    """Without it every small answer takes 40 ms."""
    with (
        local_server.listen("127.0.0.1", 0) as sock,
        socket.create_connection(sock.getsockname()),
        sock.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_metrics_count_what_happened(rest):
    def read():
        text = requests.get(rest.url + "/metrics", timeout=10).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    before = read()
    for _ in range(3):
        predict(rest, instances([([""], "")]))
    for _ in range(2):
        predict(rest, b"")
    after = read()
    grown = {name: after[name] - before.get(name, 0.0) for name in after}
    assert grown['syncrec_requests_total{status="200"}'] == 3
    assert grown['syncrec_requests_total{status="400"}'] == 2
    assert grown["syncrec_request_seconds_count"] == 5
    assert after['syncrec_version_served{version="1"}'] == 1
    assert after['syncrec_version_loads_total{result="ok"}'] == 1
    assert after["syncrec_requests_active"] == 0


# ------------------------------------------------------------------------------------ command line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--export_dir"),
        (["--export_dir", "{here}/none"], "--export_dir {here}/none: no version"),
        (["--export_dir", "{here}"], "python -m serving.export writes one"),
        (
            ["--export_dir", "{here}", "--model_config_file", "{here}/x"],
            "--model_config_file {here}/x",
        ),
        (["--export_dir", "{here}", "--port", "70000"], "--port: a number from 0 to 65535"),
        (["--export_dir", "{here}", "--port", "x"], "--port"),
        (["--export_dir", "{here}", "--host", "256.1.1.1"], "--host 256.1.1.1"),
        (["--export_dir", "{here}", "--max_rows", "0"], "--max_rows: a whole number above 0"),
        (["--export_dir", "{here}", "--poll_seconds", "nan"], "--poll_seconds: a number above 0"),
    ],
)
def test_what_cannot_be_served_is_one_clear_error(tmp_path, options, message):
    options = [option.format(here=tmp_path) for option in options]
    if not any(option == "--port" for option in options):
        options += ["--port", "0"]
    with pytest.raises(InputError) as error:
        local_server.main(options)
    assert message.format(here=tmp_path) in str(error.value)


def test_a_broken_version_says_why(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_text("no model")
    with pytest.raises(InputError, match=r"no version that can be served \(version 1: "):
        local_server.main(["--export_dir", str(tmp_path), "--port", "0"])


def test_a_port_in_use_is_one_clear_error(rest, tmp_path):
    with pytest.raises(InputError, match=f"--port {rest.port}: cannot listen there"):
        local_server.main(["--export_dir", str(tmp_path), "--port", str(rest.port)])
