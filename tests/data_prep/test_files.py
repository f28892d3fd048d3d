"""A file or folder is the old one or the new one, whoever writes it, and a kill leaves nothing."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import filelock
import pytest

from data_prep import InputError
from data_prep.files import alone_in, claimed, remove_leftovers, write_whole, written_whole

WRITER = """
import sys
import tempfile
from pathlib import Path
from data_prep.files import write_whole
file, letter = Path(sys.argv[1]), sys.argv[2]
for length in range(1, 301):
    write_whole(file, letter * 5000 * length)
"""


def test_two_processes_may_write_one_file_while_a_third_reads_it(tmp_path):
    """Every write of 300 each succeeds, and whatever is read is one of them, whole."""
    file = tmp_path / "file.json"
    write_whole(file, "a" * 5000)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), letter], stderr=subprocess.PIPE)
        for letter in "ab"
    ]
    met, reads = set(), 0
    while any(writer.poll() is None for writer in writers):
        text = file.read_text()
        reads += 1
        (letter,) = set(text)
        assert text and len(text) % 5000 == 0
        met.add((letter, len(text)))
    for writer in writers:
        said = writer.communicate()[1].decode()
        assert writer.returncode == 0, said
    assert reads > 100 and {letter for letter, _ in met} == {"a", "b"}
    assert len(file.read_text()) == 300 * 5000
    assert list(tmp_path.iterdir()) == [file]


def fill(place: Path, text: str) -> None:
    """A file, or a folder with one."""
    if place.suffix:
        place.write_text(text)
    else:
        (place / "sub").mkdir(parents=True)
        (place / "sub" / "part").write_text(text)


@pytest.mark.parametrize("name", ["weights.h5", "7"])
def test_an_error_leaves_all_as_it_was(tmp_path, name):
    write_whole(tmp_path / "weights.h5", "before")
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / name) as new:
        fill(new, "half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["weights.h5"]
    assert (tmp_path / "weights.h5").read_text() == "before"
    with written_whole(tmp_path / name) as new:
        assert new.name == name, "writers look at the suffix"
        fill(new, "whole")
        assert not (tmp_path / "7").exists()
    place = tmp_path / name
    assert (place if place.is_file() else place / "sub" / "part").read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {"weights.h5", name}


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "items.parquet").mkdir()
    with pytest.raises(InputError, match=r"items\.parquet: is a folder"):
        write_whole(tmp_path / "items.parquet", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["items.parquet"]


def test_another_name_of_a_file_keeps_its_content(tmp_path):
    write_whole(tmp_path / "a", "before")
    os.link(tmp_path / "a", tmp_path / "b")
    with written_whole(tmp_path / "a") as new:  # a second link, as of the same file
        os.link(tmp_path / "b", new)
    write_whole(tmp_path / "a", "after")
    assert (tmp_path / "b").read_text() == "before" != (tmp_path / "a").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_has_the_permissions_of_any_other(tmp_path):
    write_whole(tmp_path / "a", "text")
    (tmp_path / "b").write_text("text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


KILLED = """
import os, signal, sys, time
from pathlib import Path
from data_prep.files import written_whole
with written_whole(Path(sys.argv[1])) as new:
    new.write_text("half")
    print("written", flush=True)
    time.sleep(300)
"""


def test_what_a_kill_left_goes_with_the_next_write(tmp_path):
    """And what another process is still writing stays."""
    file = tmp_path / "[a] file.txt"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout and writer.stdout.readline() == b"written\n"
        (aside,) = tmp_path.iterdir()
        write_whole(file, "another's")
        assert (aside / file.name).read_text() == "half"
        writer.send_signal(signal.SIGKILL)
    write_whole(tmp_path / "other.txt", "")
    assert aside.exists() and file.read_text() == "another's"
    write_whole(file, "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, "other.txt"]


def test_a_folder_that_is_being_written_stays(tmp_path):
    folder = tmp_path / "incomplete.ABC_1.0.0"
    (folder / "sub").mkdir(parents=True)
    remove_leftovers(tmp_path, "incomplete.*", young=60.0)
    assert folder.exists(), "it may have been made this moment"
    os.utime(folder, (0, 0))
    with claimed(folder):
        remove_leftovers(tmp_path, "incomplete.*")
        assert folder.exists()
    remove_leftovers(tmp_path, "other.*")
    assert folder.exists()
    remove_leftovers(tmp_path, "incomplete.*")
    assert not folder.exists()


def test_a_disk_without_locks(tmp_path, monkeypatch):
    """Files are whole all the same; what a kill left goes when it is a day old."""

    def no_locks(descriptor, *, blocking):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(filelock, "lock_descriptor", no_locks)
    write_whole(tmp_path / "a", "text")
    assert (tmp_path / "a").read_text() == "text"
    left = tmp_path / ".a.12345678.partial"
    left.mkdir()
    hours_ago = left.stat().st_mtime - 20 * 3600
    os.utime(left, (hours_ago, hours_ago))
    write_whole(tmp_path / "a", "text")
    assert left.exists()
    os.utime(left, (0, 0))
    write_whole(tmp_path / "a", "text")
    assert not left.exists()


def test_one_who_tidies_up_takes_it_before_it_is_claimed(tmp_path, monkeypatch):
    """Between making a folder and locking it, another process may take it for a leftover."""
    made = []
    original = tempfile.mkdtemp

    def taken(*args):
        made.append(original(*args))
        if len(made) < 3:
            remove_leftovers(tmp_path, ".file.*")
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    write_whole(tmp_path / "file", "text")
    assert len(made) == 3 and (tmp_path / "file").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

    folder = Path(original(dir=tmp_path))
    with pytest.raises(FileNotFoundError), claimed(folder), claimed(folder):
        pass  # the second is as one who meets it locked by whoever removes it


def test_a_place_that_goes_while_one_waits_for_it_is_made_anew(tmp_path):
    """Whoever was there has failed, and cleaned up."""
    place, inside = tmp_path / "a" / "b", []
    place.mkdir(parents=True)
    descriptor = os.open(place, os.O_RDONLY)
    assert filelock.lock_descriptor(descriptor, blocking=False)

    def waiting():
        inside.append("waited")
        place.rmdir()
        place.parent.rmdir()
        os.close(descriptor)

    with alone_in(place, waiting):
        # Now it is the third that waits.
        again = os.open(place, os.O_RDONLY)
        assert not filelock.lock_descriptor(again, blocking=False)
        os.close(again)
    assert inside == ["waited"] and place.is_dir() and not list(place.iterdir())
