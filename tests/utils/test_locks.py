"""One process has a run, and hands it to a child; on disks without locks as well."""

import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from data_prep import InputError
from tf_syncrec.utils.locks import RunLock


def no_locks(descriptor, *, blocking):
    """What a disk without locks says."""
    raise OSError(38, "Function not implemented")


WITHOUT = (
    "import filelock\n" + inspect.getsource(no_locks) + "filelock.lock_descriptor = no_locks\n"
)
HOLD = """
import sys, time
from pathlib import Path
from tf_syncrec.utils.locks import RunLock
lock = RunLock(Path(sys.argv[1]))
print(lock.take() or "mine", flush=True)
time.sleep(300)
"""


def start(code: str, directory: Path, **options):
    """A process that says whether it has the lock, and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def end(process) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(params=["locks", "no locks"])
def program(request, monkeypatch):
    """What holds a lock, here and there on a disk of one kind."""
    if request.param == "locks":
        return HOLD
    monkeypatch.setattr(filelock, "lock_descriptor", no_locks)
    return WITHOUT + HOLD


def test_one_at_a_time_and_a_killed_one_blocks_nobody(tmp_path, program):
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.acquire()
    with pytest.raises(InputError, match=f"{tmp_path}: is being written by process {os.getpid()}"):
        RunLock(tmp_path).acquire()
    process, said = start(program, tmp_path)
    end(process)
    assert f"process {os.getpid()} on" in said
    lock.release()

    process, said = start(program, tmp_path)
    try:
        assert said == "mine"
        assert f"process {process.pid} on" in str(lock.take())
    finally:
        end(process)
    lock.acquire()
    lock.release()
    lock.release()


def test_a_child_holds_it_after_its_parent(tmp_path):
    """As the process of a cell does when its comparison is killed."""
    parent = """
import subprocess, sys, time
from pathlib import Path
from tf_syncrec.utils.locks import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
child = subprocess.Popen(["sleep", "300"], pass_fds=lock.shared_with(), stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(300)
"""
    process, child = start(parent, tmp_path)
    end(process)
    lock = RunLock(tmp_path)
    assert f"process {process.pid} on" in str(lock.take())
    os.kill(int(child), 9)
    deadline = time.monotonic() + 60
    while lock.take() is not None:
        assert time.monotonic() < deadline, "nobody has it any more"
        time.sleep(0.01)
    lock.release()
