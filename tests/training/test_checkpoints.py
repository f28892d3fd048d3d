"""Checkpoints are whole or not there; a damaged one is named, and nothing is destroyed."""

import errno
import os
import signal
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from data_prep import InputError
from tf_syncrec.training.checkpoints import Checkpoints
from tf_syncrec.training.resuming import reraise_full_disk
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils.hdf5 import save_weights_whole
from tf_syncrec.utils.stopping import Stopped, StopRequests


def fill(text):
    """Writes two files."""

    def write(directory):
        (directory / "a").write_text(text)
        (directory / "b").write_bytes(b"\0" * 1000)

    return write


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints, of the steps 5 and 10."""
    made = Checkpoints(tmp_path / "checkpoints", print)
    made.save(5, fill("five"))
    made.save(10, fill("ten"))
    return made


def names(checkpoints):
    return sorted(path.name for path in checkpoints.directory.iterdir())


def test_the_newest_and_the_one_before_it_are_kept(checkpoints):
    checkpoints.save(1000000000, fill("many"))
    assert names(checkpoints) == ["step-000000010", "step-1000000000"]
    assert checkpoints.newest().name == "step-1000000000"
    assert (checkpoints.newest() / "a").read_text() == "many"
    checkpoints.clear()
    assert names(checkpoints) == [] and checkpoints.newest() is None


def test_where_there_are_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere", print).newest() is None


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES = {"truncated": truncate, "a bit": flip, "empty": lambda f: os.truncate(f, 0)}
DAMAGES["missing"] = lambda file: file.unlink()


@pytest.mark.parametrize("file", ["a", "b", "files.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_it_used(checkpoints, file, damage, capsys):
    newest = checkpoints.newest()
    DAMAGES[damage](newest / file)
    assert checkpoints.newest().name == "step-000000005"
    (said,) = capsys.readouterr().out.splitlines()
    assert str(newest) in said
    assert names(checkpoints) == ["step-000000005", "step-000000010"]
    checkpoints.save(10, fill("ten again"))  # the same step, on the way from the older one
    assert (checkpoints.newest() / "a").read_text() == "ten again"


def test_none_is_whole(checkpoints):
    for path in checkpoints.all():
        flip(path / "b")
    with pytest.raises(InputError) as error:
        checkpoints.newest()
    assert all(f"step-0000000{step}" in str(error.value) for step in ("05", "10"))
    assert len(checkpoints.all()) == 2


def test_weights_under_another_name_stay_as_they_are(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    file = tmp_path / "best.weights.h5"
    save_weights_whole(model, file)
    before = file.read_bytes()
    os.link(file, tmp_path / "kept")
    model.set_weights([weight + 1 for weight in model.get_weights()])
    save_weights_whole(model, file)
    assert (tmp_path / "kept").read_bytes() == before != file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.weights.h5", "kept"]


def full_disk(directory):
    (directory / "a").write_text("some")
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_of_tensorflow(directory):
    raise tf.errors.ResourceExhaustedError(None, None, "x; No space left on device")


@pytest.mark.parametrize("write", [full_disk, full_disk_of_tensorflow])
def test_a_full_disk_leaves_what_was_there(checkpoints, write):
    with pytest.raises(Stopped, match=r"step-000000011.*No space left.*good one is .*-000000010"):
        checkpoints.save(11, write)
    assert names(checkpoints) == ["step-000000005", "step-000000010"]
    assert (checkpoints.newest() / "a").read_text() == "ten"


LIMITED = """
import resource, sys
from pathlib import Path

import tensorflow as tf

from tf_syncrec.utils import hdf5
from tf_syncrec.training.checkpoints import Checkpoints
from tf_syncrec.cli import run_command

groups = {"all": [tf.Variable(tf.zeros(shape)) for shape in ([10], [1000, int(sys.argv[2])])]}
checkpoints = Checkpoints(Path(sys.argv[1]), print)
write = lambda directory: hdf5.save(directory / "variables.h5", groups)
checkpoints.save(1, write)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
run_command(lambda: checkpoints.save(2, write))
"""


@pytest.mark.parametrize("width", [25, 100])
def test_a_write_that_fails_in_the_file(tmp_path, width):
    """The system refuses to write on, as a full disk does: in the middle of an array, or at the
    end, when HDF5 closes the file."""
    directory = tmp_path / "checkpoints"
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(directory), str(width)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    error = run.stderr.strip().splitlines()[-1]
    assert error.startswith("error: checkpoint") and "File too large" in error, run.stderr
    assert "step-000000001" in error
    assert [path.name for path in directory.iterdir()] == ["step-000000001"]


FULL = {
    "of the system": OSError(errno.ENOSPC, "No space left on device"),
    "of HDF5": OSError("unable to extend file properly (error message = 'File too large')"),
    "of TensorFlow": tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"),
}


@pytest.mark.parametrize("whose", FULL)
def test_a_full_disk_is_one_message_wherever_it_is_met(tmp_path, whose):
    """As in writing best weights, ranks or the export."""
    with pytest.raises(Stopped) as stopped, reraise_full_disk(RunDirectory(tmp_path)):
        raise FULL[whose]
    assert stopped.value.code == 1
    assert str(tmp_path) in str(stopped.value) and "free some space, then" in str(stopped.value)


def test_other_errors_are_not_said_to_be_a_full_disk(tmp_path):
    with pytest.raises(PermissionError), reraise_full_disk(RunDirectory(tmp_path)):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_waits_for_the_end_of_a_step(number):
    before = signal.getsignal(number)
    with StopRequests(lambda: "go on so") as stop:
        stop.waiting = True
        os.kill(os.getpid(), number)
        assert stop.asked == number
        assert stop.stopped().code == 128 + number
        assert f"{number.name}; go on so" in str(stop.stopped())
        with pytest.raises(Stopped):  # who asks twice cannot wait
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_between_steps_stops_at_once():
    with StopRequests(lambda: "go on so"), pytest.raises(Stopped, match="go on so"):
        os.kill(os.getpid(), signal.SIGTERM)
