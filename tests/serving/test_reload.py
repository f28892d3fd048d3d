"""A new version takes over without a request lost, and the old one leaves nothing behind."""

import gc
import os
import re
import shutil
import threading
import weakref

import numpy as np
import pytest
import requests
from tensorflow.core.protobuf import error_codes_pb2
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from data_prep import InputError
from serving.saved_model.version_folders import list_versions
from serving.server import versions as versions_module
from serving.server import watcher as watcher_module
from serving.server.model_config import ModelConfig, read_model_config
from serving.server.versions import Versions
from serving.server.web import make_server
from tests.support.rest_server import put, running, wait_for

REQUEST = {"items": np.array([[""]], object), "domain": np.array([""], object)}
BODY = {"instances": [{"items": [""], "domain": ""}]}


def answer(version):
    return version.run("serving_default", REQUEST)["version"].tolist()


def test_only_numbers_are_versions(tmp_path):
    for name in ("10", "9", "007", ".11.partial", "x", "1.5", "-3", "²", "１２"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").write_text("a file")
    (tmp_path / "13").symlink_to("x" * 300)  # the system refuses to follow it
    (tmp_path / "14").symlink_to("14")
    assert list(list_versions(tmp_path)) == [7, 9, 10]
    assert list_versions(tmp_path / "none") == list_versions(tmp_path / "12") == {}
    with pytest.raises(InputError, match=f"--export_dir {tmp_path / '14'}: cannot be read"):
        list_versions(tmp_path / "14")


def test_a_number_that_is_no_version_of_tensorflow_serving_is_none(tmp_path):
    """It has 64 bits for one: with a larger one no status could be told, and nothing was served."""
    put(tmp_path, 1)
    for name in (str(2**63), "20261128154938123456", "9" * 200):
        (tmp_path / name).mkdir()
    versions = Versions(tmp_path)
    versions.refresh()
    assert list(versions.loaded) == [1]
    put(tmp_path, 2**63 - 1, says=2)
    versions.refresh()
    assert list(versions.loaded) == [2**63 - 1]
    versions.close()


def test_of_two_names_of_one_number_the_shortest_counts(tmp_path):
    for name in ("007", "7", "07", "000008", "08"):
        (tmp_path / name).mkdir()
    assert list_versions(tmp_path) == {7: tmp_path / "7", 8: tmp_path / "08"}


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
    assert versions.refresh() == []  # not tried at every look
    put(tmp_path, 3)
    versions.refresh()
    assert list(versions.loaded) == [3]
    # Mended, it may be wanted.
    shutil.rmtree(tmp_path / "2")
    versions.refresh()
    assert 2 not in versions.statuses
    versions.close()


def test_what_could_not_be_loaded_is_tried_again_after_a_while(tmp_path, monkeypatch):
    """Its files may be fine, and memory or disk have been in need."""
    put(tmp_path, 1)
    versions = Versions(tmp_path)
    with monkeypatch.context() as need:
        need.setattr(versions_module, "LoadedVersion", out_of_memory)
        assert versions.refresh() == [1] and not versions.loaded
        assert "out of memory" in versions.statuses[1].status.error_message
    assert versions.refresh() == []
    monkeypatch.setattr(versions_module, "AGAIN", 0.0)
    assert versions.refresh() == [1] and list(versions.loaded) == [1]
    assert versions.statuses[1].status.error_code == error_codes_pb2.OK
    assert versions.refresh() == []  # only what failed
    versions.close()


def out_of_memory(path):
    raise MemoryError("out of memory")


def replaced_whole(new, old):
    shutil.rmtree(old)
    new.rename(old)


def replaced_in_place(new, old):
    shutil.copytree(new, old, dirs_exist_ok=True)


def replaced_with_its_times(new, old):
    """Files of the same size and time of writing, as some copies have them."""
    for file in [path for path in new.rglob("*") if path.is_file()]:
        target = old / file.relative_to(new)
        before = target.stat()
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_size == before.st_size or file.name == "fingerprint.pb"
        file.rename(target)


def replaced_by_a_link(new, old):
    shutil.rmtree(old)
    old.symlink_to(new, target_is_directory=True)


@pytest.mark.parametrize(
    "replace",
    [replaced_whole, replaced_in_place, replaced_with_its_times, replaced_by_a_link],
)
def test_a_version_that_is_replaced_under_its_number_is_read_again(tmp_path, replace):
    base, spare = tmp_path / "base", tmp_path / "spare"
    base.mkdir()
    spare.mkdir()
    put(base, 1, says=11)
    put(spare, 1, says=12)
    versions = Versions(base)
    versions.refresh()
    assert answer(versions.find()[1]) == [11]
    replace(spare / "1", base / "1")
    assert (versions.refresh(), versions.refresh(), versions.refresh()) == ([], [1], [])
    assert answer(versions.find()[1]) == [12]
    versions.close()


def test_a_version_that_was_away_for_a_look_is_read_again(tmp_path):
    put(tmp_path, 1, says=11)
    versions = Versions(tmp_path)
    versions.refresh()
    shutil.rmtree(tmp_path / "1")
    versions.refresh()
    assert answer(versions.find()[1]) == [11]
    put(tmp_path, 1, says=12)
    assert versions.refresh() == [1]
    assert answer(versions.find()[1]) == [12]
    versions.close()


def test_a_broken_replacement_leaves_what_was_loaded(tmp_path):
    put(tmp_path, 1)
    versions = Versions(tmp_path)
    versions.refresh()
    (tmp_path / "1" / "variables" / "variables.index").write_bytes(b"")
    assert (versions.refresh(), versions.refresh(), versions.refresh()) == ([], [1], [])
    assert answer(versions.find()[1]) == [1]
    status = versions.statuses[1]
    assert status.state == ModelVersionStatus.AVAILABLE  # it answers
    assert status.status.error_code != error_codes_pb2.OK and status.status.error_message
    versions.close()


@pytest.mark.parametrize("link", ["nowhere", ".", ".."])
def test_a_link_that_leads_nowhere_or_up_keeps_no_version_from_being_served(tmp_path, link):
    put(tmp_path, 1)
    for name in ("one", "other"):
        (tmp_path / "1" / "variables" / name).symlink_to(link)
    versions = Versions(tmp_path)
    versions.refresh()
    assert answer(versions.find()[1]) == [1]
    assert versions.refresh() == []  # nothing has changed
    versions.close()


def test_a_part_that_was_away_while_it_was_read_is_not_waited_for(tmp_path, monkeypatch):
    """Its files are as they were, and the folder around them is not."""
    put(tmp_path, 1)
    load = versions_module.LoadedVersion
    part, away = tmp_path / "1" / "variables", tmp_path / "away"

    def load_without(path):
        part.rename(away)
        try:
            return load(path)
        finally:
            away.rename(part)

    versions = Versions(tmp_path)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(versions_module, "LoadedVersion", load_without)
        assert versions.refresh() == [1] and not versions.loaded
    versions.refresh()
    versions.refresh()
    assert list(versions.loaded) == [1]
    versions.close()


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_a_version_that_is_copied_in_file_by_file_is_served_when_it_is_whole(tmp_path, order):
    base, spare = tmp_path / "base", tmp_path / "spare"
    base.mkdir()
    spare.mkdir()
    put(base, 1)
    put(spare, 2)
    versions, tried = Versions(base), []
    versions.refresh()
    files = sorted(path for path in (spare / "2").rglob("*") if path.is_file())
    for file in files if order == "forwards" else files[::-1]:
        target = base / "2" / file.relative_to(spare / "2")
        target.parent.mkdir(parents=True, exist_ok=True)
        whole = file.read_bytes()
        for part in (whole[: len(whole) // 2], whole):
            target.write_bytes(part)
            tried += versions.refresh()
            assert answer(versions.find()[1]) == [versions.find()[0]]
    assert len(tried) <= 1  # while files come, nothing is tried again
    versions.refresh()
    versions.refresh()
    assert list(versions.loaded) == [2] and answer(versions.find()[1]) == [2]
    versions.close()


def test_files_that_change_while_they_are_read_do_not_take_over(tmp_path, monkeypatch):
    put(tmp_path, 1)
    versions = Versions(tmp_path)
    versions.refresh()
    put(tmp_path, 2)
    load = versions_module.LoadedVersion

    def load_slowly(path):
        version = load(path)
        (path / "late").write_text("")
        return version

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(versions_module, "LoadedVersion", load_slowly)
        assert versions.refresh() == [2]
    assert list(versions.loaded) == [1]
    assert "changed while they were read" in versions.statuses[2].status.error_message
    versions.refresh()
    versions.refresh()
    assert list(versions.loaded) == [2]
    versions.close()


def test_what_is_wrong_is_said_once_and_that_it_is_no_longer_so(tmp_path, capsys, monkeypatch):
    put(tmp_path, 1)
    file = tmp_path / "models.config"
    good = 'model_config_list { config { name: "syncrec" model_version_policy { all {} } } }'
    file.write_text(good)
    _, watcher = make_server(tmp_path, read_model_config(file), file)
    assert capsys.readouterr().out.splitlines() == ["version 1: AVAILABLE"]
    monkeypatch.setattr(versions_module, "AGAIN", 0.0)
    (tmp_path / "2").mkdir()
    file.write_text("model_config_list {")
    for _ in range(3):
        watcher.look()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0].startswith("kept the previous configuration: ") and str(file) in said[0]
    assert said[1].startswith("version 2: cannot be loaded: ")
    file.write_text(good)
    for _ in range(3):
        watcher.look()
    assert capsys.readouterr().out.splitlines() == [f"resolved: {said[0]}"]


def test_what_is_wrong_with_another_version_of_its_number_is_said_too(tmp_path, capsys):
    put(tmp_path, 1)
    _, watcher = make_server(tmp_path, ModelConfig())
    for _ in range(2):
        (tmp_path / "2").mkdir()
        capsys.readouterr()
        watcher.look()
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith("version 2: cannot be loaded: ")
        (tmp_path / "2").rmdir()
        watcher.look()


def test_who_reads_what_it_says_may_go(tmp_path, monkeypatch):
    def say(text):
        raise BrokenPipeError

    put(tmp_path, 1)
    with running(tmp_path, seconds=0.02) as rest:
        monkeypatch.setattr(watcher_module, "say", say)
        for number in (2, 3):
            put(tmp_path, number)
            wait_for(lambda number=number: list(rest.server.api.versions.loaded) == [number])


def test_a_look_that_fails_is_not_the_last(tmp_path, monkeypatch):
    put(tmp_path, 1)
    failed = threading.Event()

    def disk_is_away(folder):
        failed.set()
        raise OSError("Stale file handle")

    with running(tmp_path, seconds=0.02) as rest:
        with monkeypatch.context() as away:
            away.setattr(versions_module, "list_versions", disk_is_away)
            assert failed.wait(30)
        put(tmp_path, 2)
        wait_for(lambda: list(rest.server.api.versions.loaded) == [2])


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
            wait_for(lambda: session() is None)
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
