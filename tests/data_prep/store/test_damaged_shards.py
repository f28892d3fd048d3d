"""A prepared dataset with a broken file: one message that names it and says what to do."""

import shutil

import pytest

from data_prep import prepare
from tests.test_fit import TINY, write_log
from tf_syncrec.cli import run_command
from tf_syncrec.fit import main as fit


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A log and the dataset that was prepared from it."""
    directory = tmp_path_factory.mktemp("shards")
    write_log(directory / "log.csv")
    prepared = prepare(
        "interactions", path=directory / "log.csv", data_dir=directory / "data", report=None
    )
    assert prepared.damage() is None
    return directory


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("spoil", [cut, flip, empty, remove])
def test_every_damage_is_found_and_named(tmp_path, whole, spoil, split):
    shutil.copytree(whole, tmp_path / "copy")
    (file, *_) = (tmp_path / "copy").rglob(f"*-{split}.tfrecord*")
    spoil(file)
    prepared = prepare(
        "interactions", path=whole / "log.csv", data_dir=tmp_path / "copy" / "data", report=None
    )
    assert str(file) in (prepared.damage() or "")


@pytest.mark.parametrize("spoil", [cut, flip])
def test_fit_says_so_in_one_line(tmp_path, whole, spoil, capsys):
    shutil.copytree(whole / "data", tmp_path / "data")
    (file, *_) = (tmp_path / "data").rglob("*-train.tfrecord*")
    command = ["--dataset", "interactions", "--path", str(whole / "log.csv"), *TINY]
    command += ["--data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "run")]
    spoil(file)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: fit(command))
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(file) in line and f"delete {file.parent}" in line and "\n" not in line
    assert not (tmp_path / "run").exists()
