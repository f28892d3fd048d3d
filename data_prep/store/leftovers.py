"""Finds and removes what a killed preparation left behind.

TFDS writes a dataset into `incomplete.XXXX_1.0.0` and renames that when all is there. A kill leaves
the folder; it is told from one that is still being written by a lock, which dies with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

_YOUNG = 60.0  # Seconds in which a folder may have been made and not yet locked.


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Marks a folder as being written."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove(dataset: Path) -> None:
    """Removes what is left of earlier preparations of a dataset.

    Args:
      dataset: where it will be when it is whole.
    """
    for folder in dataset.parent.glob(f"incomplete.*_{dataset.name}"):
        with contextlib.suppress(OSError):  # Somebody else is quicker, or is writing it.
            if time.time() - folder.stat().st_mtime > _YOUNG:
                with _alone(folder):
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
