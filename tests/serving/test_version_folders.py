"""Exports to one base path do one another no harm, nor a server that is running."""

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from data_prep import InputError
from serving.saved_model.in_use import Marks
from serving.saved_model.version_folders import add_version, delete_old, list_versions
from serving.server import versions as versions_module
from serving.server.model_config import _POLICY, ModelConfig, read_model_config
from serving.server.versions import Versions
from serving.server.web import make_server
from tests.support.rest_server import put


def writes(text, before=lambda: None):
    """Two files, with something between."""

    def write(folder):
        folder.mkdir()
        (folder / "a").write_text(text)
        before()
        (folder / "b").write_text(text)

    return write


def names(base):
    return sorted(path.name for path in base.iterdir())


def test_exports_at_a_time_are_whole_and_have_a_number_each(tmp_path):
    together = threading.Barrier(8, timeout=20)
    made = {}

    def export(text):
        for turn in range(3):
            made[text, turn] = add_version(tmp_path, writes(f"{text}{turn}", together.wait))

    threads = [threading.Thread(target=export, args=(text,)) for text in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert names(tmp_path) == sorted(map(str, range(1, 25)))
    for (text, turn), version in made.items():
        assert {(version / name).read_text() for name in "ab"} == {f"{text}{turn}"}


def test_the_number_is_the_one_that_is_free_when_all_is_written(tmp_path):
    """What is newest is what was done last, by whichever export."""
    late = add_version(
        tmp_path, writes("late", lambda: add_version(tmp_path, writes("in between")))
    )
    assert late == tmp_path / "2"
    assert (tmp_path / "1" / "a").read_text() == "in between"


def test_a_link_to_nowhere_is_passed_over(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).symlink_to("gone")
    assert add_version(tmp_path, writes("x")) == tmp_path / "3"


def test_after_the_largest_number_there_is_none(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(InputError, match="knows no higher number"):
        add_version(tmp_path, writes("x"))
    assert names(tmp_path) == [str(2**63 - 1)]


@pytest.mark.parametrize("in_the_way", ["file", "folder"])
def test_a_number_that_is_taken_meanwhile_is_passed_over(tmp_path, in_the_way, monkeypatch):
    rename = os.rename
    taken: list[str] = []

    def other_is_quicker(old, new):
        if not taken:
            taken.append(new)
            if in_the_way == "file":
                open(new, "w").close()
            else:
                os.makedirs(os.path.join(new, "x"))
        return rename(old, new)

    monkeypatch.setattr(os, "rename", other_is_quicker)
    assert add_version(tmp_path, writes("x")) == tmp_path / "2"
    assert taken and names(tmp_path) == ["1", "2"]


def test_deletions_at_a_time_do_not_fail(tmp_path):
    for number in range(1, 41):
        (tmp_path / str(number) / "inner").mkdir(parents=True)
    errors: list = []
    together = threading.Barrier(4, timeout=20)

    def delete():
        together.wait()
        try:
            errors.extend(delete_old(tmp_path, 3, ()))  # none is in use
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert names(tmp_path) == ["38", "39", "40"]


KILLED = """
import sys, time
from pathlib import Path
from serving.saved_model.version_folders import add_version

def write(folder):
    folder.mkdir()
    (folder / "a").write_text("half")
    print("now", flush=True)
    time.sleep(60)

add_version(Path(sys.argv[1]), write)
"""


def test_what_a_killed_export_left_goes_with_the_next_one_and_that_of_a_running_one_stays(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == b"now\n"
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        (tmp_path / ".5.partial").mkdir()  # of somebody who copies in
        (tmp_path / ".3.deleted").mkdir()
        assert len(names(tmp_path)) == 4
        assert add_version(tmp_path, writes("x")) == tmp_path / "1"
        delete_old(tmp_path, 1, ())
        assert len(names(tmp_path)) == 3 and {".5.partial", "1"} < set(names(tmp_path))
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def test_what_is_marked_stays_until_it_no_longer_is(tmp_path):
    for number in range(1, 6):
        (tmp_path / str(number)).mkdir()
    ours, theirs = Marks(), Marks()
    ours.hold([tmp_path / "1", tmp_path / "2", tmp_path / "gone"])
    theirs.hold([tmp_path / "2"])
    assert delete_old(tmp_path, 1, [3]) == [1, 2]
    assert names(tmp_path) == ["1", "2", "3", "5"]
    ours.hold([tmp_path / "1"])
    assert delete_old(tmp_path, 1, ()) == [1, 2]
    theirs.hold([])
    assert delete_old(tmp_path, 1, ()) == [1]
    ours.hold([])
    assert delete_old(tmp_path, 1, ()) == []
    assert names(tmp_path) == ["5"]


@pytest.mark.parametrize("labelled", [[], [3]])
def test_what_a_version_that_stays_is_a_link_to_stays(tmp_path, labelled):
    """Rolled back by a link: version 3 is what version 1 was."""
    for name in ("1", "2", "4"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / "a").write_text("kept")
    (tmp_path / "3").symlink_to("1")
    delete_old(tmp_path, 1 if labelled else 2, labelled)
    assert names(tmp_path) == ["1", "3", "4"]
    assert (tmp_path / "3" / "a").read_text() == "kept"
    delete_old(tmp_path, 1, ())
    assert names(tmp_path) == ["4"]


def test_a_folder_that_takes_a_versions_place_in_the_midst_of_a_look_is_marked(
    tmp_path, monkeypatch
):
    base = tmp_path / "base"
    base.mkdir()
    for number in (1, 2):
        put(base, number)
    other = tmp_path / "other"
    shutil.copytree(base / "1", other)
    real, load = versions_module.contents, versions_module.LoadedVersion
    kept: list[list[int]] = []

    def replaced(path):
        if other.exists():
            shutil.rmtree(path)
            other.rename(path)
        return real(path)

    def deleted_meanwhile(path):
        version = load(path)
        kept.append(delete_old(base, 1, ()))
        return version

    monkeypatch.setattr(versions_module, "contents", replaced)
    monkeypatch.setattr(versions_module, "LoadedVersion", deleted_meanwhile)
    versions = Versions(base, lambda numbers: [1])
    versions.refresh()
    assert kept == [[1]] and list(versions.loaded) == [1] and (base / "1").is_dir()
    versions.close()


def test_a_server_that_could_not_start_marks_nothing(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(InputError, match="no version that can be served"):
        make_server(tmp_path, ModelConfig(policy=_POLICY(all={})))
    assert delete_old(tmp_path, 1, ()) == []
    assert names(tmp_path) == ["2"]


def test_a_mark_follows_a_folder_that_is_replaced(tmp_path):
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
    marks = Marks()
    marks.hold([tmp_path / "1"])
    (tmp_path / "1").rename(tmp_path / "elsewhere")
    (tmp_path / "1").mkdir()
    marks.hold([tmp_path / "1"])
    assert delete_old(tmp_path, 1, ()) == [1]
    marks.hold([])


def test_no_export_deletes_what_a_running_server_has_loaded_or_labelled(tmp_path):
    """Without being told of its models.config."""
    base, file = tmp_path / "base", tmp_path / "models.config"
    base.mkdir()
    for number in range(1, 6):
        put(base, number)
    file.write_text(
        'model_config_list { config { name: "syncrec" model_version_policy { specific { '
        'versions: 2 } } version_labels { key: "stable" value: 1 } } }'
    )
    server, watcher = make_server(base, read_model_config(file), file)
    assert list(server.api.versions.loaded) == [2]
    assert delete_old(base, 1, ()) == [1, 2]
    assert list(list_versions(base)) == [1, 2, 5]
    file.write_text('model_config_list { config { name: "syncrec" } }')
    watcher.look()
    assert list(server.api.versions.loaded) == [5]
    assert delete_old(base, 1, ()) == [] and list(list_versions(base)) == [5]
    server.close()


def test_a_server_that_is_gone_marks_nothing(tmp_path):
    put(tmp_path, 1)
    versions = Versions(tmp_path)
    versions.refresh()
    (tmp_path / "2").mkdir()
    assert delete_old(tmp_path, 1, ()) == [1]
    versions.close()
    assert delete_old(tmp_path, 1, ()) == []
    assert names(tmp_path) == ["2"]
