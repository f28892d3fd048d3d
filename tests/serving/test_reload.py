"""A new version takes over without a request lost, and the old one leaves nothing behind."""

import gc
import re
import shutil
import threading
import weakref

import numpy as np
import requests
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.saved_model.version_folders import list_versions
from serving.server.versions import Versions
from tests.support.rest_server import put, running, wait_for

REQUEST = {"items": np.array([[""]], object), "domain": np.array([""], object)}
BODY = {"instances": [{"items": [""], "domain": ""}]}


def answer(version):
    return version.run("serving_default", REQUEST)["version"].tolist()


def test_only_numbers_are_versions(tmp_path):
    for name in ("10", "9", "007", ".11.partial", "x", "1.5", "-3", "²", "１２"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    assert list(list_versions(tmp_path)) == [7, 9, 10]
    assert list_versions(tmp_path / "none") == {}


def test_versions_come_and_go(tmp_path):
    versions = Versions(tmp_path)
    assert versions.refresh() == [] and list(versions.loaded) == []
    put(tmp_path, 1)
    assert versions.refresh() == [1] and list(versions.loaded) == [1]
    assert versions.refresh() == []
    put(tmp_path, 2)
    assert versions.refresh() == [2] and list(versions.loaded) == [2]
    assert set(versions.statuses) == {2}
    # Gone from disk, it still answers until there is another.
    shutil.rmtree(tmp_path / "2")
    shutil.rmtree(tmp_path / "1")
    versions.refresh()
    assert (
        list(versions.loaded) == [2] and versions.statuses[2].state == ModelVersionStatus.AVAILABLE
    )
    versions.close()


def test_a_broken_version_does_not_take_over(tmp_path):
    versions = Versions(tmp_path)
    put(tmp_path, 1)
    versions.refresh()
    put(tmp_path, 2)
    (tmp_path / "2" / "variables" / "variables.index").unlink()
    assert versions.refresh() == [2]
    assert list(versions.loaded) == [1]
    status = versions.statuses[2]
    assert (status.version, status.state) == (2, ModelVersionStatus.END)
    assert status.status.error_code == error_codes_pb2.UNKNOWN and status.status.error_message
    assert versions.refresh() == []  # not tried again and again
    put(tmp_path, 3)
    versions.refresh()
    assert list(versions.loaded) == [3]
    # Mended, it may be wanted.
    shutil.rmtree(tmp_path / "2")
    versions.refresh()
    assert 2 not in versions.statuses
    versions.close()


def test_a_version_in_use_stays_until_its_last_answer(tmp_path):
    """And its session, which holds the weights, goes at once then: no collection is waited for."""
    versions = Versions(tmp_path)
    put(tmp_path, 1)
    versions.refresh()
    number, version = versions.find()
    again = versions.find(1)[1]
    session = weakref.ref(version._session)
    put(tmp_path, 2)
    versions.refresh()
    assert (number, list(versions.loaded)) == (1, [2])
    gc.disable()
    try:
        assert answer(version) == [1]
        del version
        assert answer(again) == [1]
        assert session() is not None
        del again
        assert session() is None
    finally:
        gc.enable()
    versions.close()


def test_what_is_let_go_of_is_gone(tmp_path):
    """Graphs are webs of cycles: without a collection tens of MiB stay for each version."""
    versions, graphs = Versions(tmp_path), []
    for number in range(1, 5):
        put(tmp_path, number)
        versions.refresh()
        graphs.append(weakref.ref(versions.find()[1]._session.graph))
    assert [graph() is not None for graph in graphs] == [False, False, False, True]
    versions.close()


def test_answers_and_refusals_of_a_server_hold_on_to_no_version(tmp_path):
    put(tmp_path, 1)
    with running(tmp_path, seconds=1000) as rest:
        session = weakref.ref(rest.server.api.versions.find()[1]._session)
        bodies: list[dict] = [BODY, {"instances": []}, {"signature_name": "none"} | BODY]
        for body in bodies:
            requests.post(f"{rest.url}/v1/models/syncrec:predict", json=body, timeout=60)
        put(tmp_path, 2)
        gc.disable()
        try:
            rest.server.api.versions.refresh()
            wait_for(lambda: session() is None, 10)
        finally:
            gc.enable()


def test_no_request_is_lost_while_versions_change(tmp_path):
    put(tmp_path, 1)
    stop = threading.Event()
    answers: list[list[tuple[int, int]]] = [[] for _ in range(4)]

    def ask(url, mine):
        with requests.Session() as session:
            while not stop.is_set():
                reply = session.post(f"{url}/v1/models/syncrec:predict", json=BODY, timeout=60)
                version = reply.json()["predictions"][0]["version"] if reply.ok else 0
                mine.append((reply.status_code, version))

    with running(tmp_path) as rest:
        threads = [threading.Thread(target=ask, args=(rest.url, mine)) for mine in answers]
        for thread in threads:
            thread.start()
        for number in range(2, 9):
            put(tmp_path, number)
            wait_for(lambda number=number: list(rest.server.api.versions.loaded) == [number])
            before = [len(mine) for mine in answers]
            wait_for(
                lambda before=before: all(
                    len(mine) > count + 2 for mine, count in zip(answers, before, strict=True)
                )
            )
        stop.set()
        for thread in threads:
            thread.join(60)
        metrics = requests.get(f"{rest.url}/metrics", timeout=10).text
    assert re.findall(r"^syncrec_version_served.*", metrics, re.M) == [
        'syncrec_version_served{version="8"} 1.0'
    ]
    for mine in answers:
        statuses, versions = zip(*mine, strict=True)
        assert set(statuses) == {200}
        assert list(versions) == sorted(versions)  # nobody goes back to an older one
        assert versions[-1] == 8
