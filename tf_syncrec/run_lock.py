"""One process at a time writes a run."""

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
        directory: of the run.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._file: TextIO | None = None

    def acquire(self) -> None:
        """Takes it, unless this process already has it; the directory must exist.

        Raises:
            InputError: another process has it.
        """
        if self._file is not None:
            return
        file = open(self._directory / ".lock", "a+")  # noqa: SIM115, open until `release`
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            if error.errno not in _HELD:
                return  # a disk without locks
            raise InputError(
                f"--output_dir {self._directory}: is being written by {holder or 'another process'}"
                "; wait for it, or stop it first"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Gives it back, if this process has it."""
        if self._file is not None:
            self._file.close()
            self._file = None
