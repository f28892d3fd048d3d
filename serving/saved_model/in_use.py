"""Which versions are in use: a server marks what it has loaded or labelled, no export deletes that.

A mark is a shared lock on the folder of a version. It needs no right to write there, and is gone
when the process is. A disk without locks has no marks.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_prep.files import lock


class Marks:
    """Those of this process."""

    def __init__(self) -> None:
        self._held: list[int] = []

    def hold(self, versions: Iterable[Path]) -> None:
        """Marks these folders and no others; one that is going or gone is passed over."""
        before, self._held = self._held, []
        for version in versions:
            with contextlib.suppress(OSError):
                descriptor = os.open(version, os.O_RDONLY | os.O_DIRECTORY)
                if _shares(descriptor):
                    self._held.append(descriptor)
                else:
                    os.close(descriptor)
        for descriptor in before:  # only now, so that none is without a mark in between
            os.close(descriptor)


@contextlib.contextmanager
def unused(version: Path) -> Iterator[bool]:
    """Whether nobody has marked a version; nobody can then until the end.

    Raises:
        FileNotFoundError: it is gone, or going: another export deletes it.
    """
    descriptor = os.open(version, os.O_RDONLY | os.O_DIRECTORY)
    try:
        free = lock(descriptor) is not False
        if not free and not _shares(descriptor):
            raise FileNotFoundError(f"{version} is being deleted")
        yield free
    finally:
        os.close(descriptor)


def _shares(descriptor: int) -> bool:
    """Whether it is marked now; it is not where another process deletes it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
