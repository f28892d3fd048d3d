"""A new version takes over without a request lost, and the old one leaves nothing behind."""

import shutil
import threading
import weakref

import numpy as np
import requests

from serving.server.versions import Versions, list_versions
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
    assert versions.refresh() == [] and versions.loaded == []
    put(tmp_path, 1)
    assert versions.refresh() == [1] and versions.loaded == [1]
    assert versions.refresh() == []
    put(tmp_path, 2)
    assert versions.refresh() == [2] and versions.loaded == [2]
    assert set(versions.statuses) == {2}
    # Gone from disk, it still answers until there is another.
    shutil.rmtree(tmp_path / "2")
    shutil.rmtree(tmp_path / "1")
    versions.refresh()
    assert versions.loaded == [2] and versions.statuses[2].state == "AVAILABLE"
    versions.close()


def test_a_broken_version_does_not_take_over(tmp_path):
    versions = Versions(tmp_path)
    put(tmp_path, 1)
    versions.refresh()
    put(tmp_path, 2)
    (tmp_path / "2" / "variables" / "variables.index").unlink()
    assert versions.refresh() == [2]
    assert versions.loaded == [1]
    assert versions.statuses[2].state == "END" and versions.statuses[2].error_message
    assert versions.refresh() == []  # not tried again and again
    put(tmp_path, 3)
    versions.refresh()
    assert versions.loaded == [3]
    # Mended, it may be wanted.
    shutil.rmtree(tmp_path / "2")
    versions.refresh()
    assert 2 not in versions.statuses
    versions.close()


def test_a_version_in_use_stays_until_it_is_released(tmp_path):
    versions = Versions(tmp_path)
    put(tmp_path, 1)
    versions.refresh()
    number, version = versions.acquire()
    again = versions.acquire(1)[1]
    put(tmp_path, 2)
    versions.refresh()
    assert (number, versions.loaded) == (1, [2])
    assert answer(version) == [1]
    version.release()
    assert answer(again) == [1]
    again.release()
    assert version._session._closed and not version._calls
    versions.close()


def test_what_is_let_go_of_is_gone(tmp_path):
    """Graphs are webs of cycles: without a collection tens of MiB stay for each version."""
    versions, graphs = Versions(tmp_path), []
    for number in range(1, 5):
        put(tmp_path, number)
        versions.refresh()
        _, version = versions.acquire()
        graphs.append(weakref.ref(version._session.graph))
        version.release()
        del version
    assert [graph() is not None for graph in graphs] == [False, False, False, True]
    versions.close()


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
            wait_for(lambda number=number: rest.server.versions.loaded == [number])
            before = [len(mine) for mine in answers]
            wait_for(
                lambda before=before: all(
                    len(mine) > count + 2 for mine, count in zip(answers, before, strict=True)
                )
            )
        stop.set()
        for thread in threads:
            thread.join(60)
    for mine in answers:
        statuses, versions = zip(*mine, strict=True)
        assert set(statuses) == {200}
        assert list(versions) == sorted(versions)  # nobody goes back to an older one
        assert versions[-1] == 8
