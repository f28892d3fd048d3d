"""One process at a time writes a run, or a cell of a comparison."""

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import TextIO

from data_prep import InputError

_HELD = (errno.EWOULDBLOCK, errno.EACCES)


class RunLock:
    """Held by the operating system for this process, so that it is gone when the process is.

    The file stays: removing it would let two processes hold a file of that name each.

    Args:
        directory: of the run, or the cell.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Takes it, unless this process already has it; the directory must exist.

        Raises:
            InputError: another process has it.
        """
        if holder := self.take():
            raise InputError(
                f"--output_dir {self._directory}: is being written by {holder}; wait for it, or "
                "stop it first"
            )

    def take(self) -> str | None:
        """As `acquire`, but returns who has it in place of raising; None: this process now."""
        if self._file is not None:
            return None
        file = open(self._directory / ".lock", "a+")  # noqa: SIM115, open until `release`
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            if error.errno not in _HELD:
                return None  # a disk without locks
            return holder or "another process"
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._file = file
        return None

    def shared_with(self) -> tuple[int, ...]:
        """File descriptors to hand on to a child, which then holds it until both are gone."""
        return () if self._file is None else (self._file.fileno(),)

    def release(self) -> None:
        """Gives it back, if this process has it."""
        if self._file is not None:
            self._file.close()
            self._file = None
