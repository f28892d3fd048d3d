"""One process at a time writes a run, or a cell of a comparison."""

import os
import socket
from pathlib import Path
from typing import TextIO

import filelock

from data_prep import InputError


class RunLock:
    """Held by the operating system for this process, so that it is gone when the process is.

    On a disk without locks, a marker file that names the process stands in for it; one whose
    process is gone is ignored on the same machine, and has to be deleted by hand on another.

    The file stays: removing it would let two processes hold a file of that name each.

    Args:
        directory: of the run, or the cell.
    """

    def __init__(self, directory: Path):
        self._directory = directory
        self._file: TextIO | None = None
        marker = directory / ".lock.held"
        self._marker = filelock.MarkerSoftFileLock(marker, blocking=False, thread_local=False)

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

    @property
    def held(self) -> bool:
        """Whether this process has it."""
        return self._file is not None or self._marker.is_locked

    def take(self) -> str | None:
        """As `acquire`, but returns who has it in place of raising; None: this process now.

        Raises:
            InputError: the directory cannot be written to.
        """
        if self.held:
            return None
        try:
            file = open(self._directory / ".lock", "a+")  # noqa: SIM115, open until `release`
        except OSError as error:
            raise InputError(
                f"--output_dir {self._directory}: cannot be written to, {error.filename} cannot be "
                f"opened ({error.strerror})"
            ) from None
        try:
            mine = filelock.lock_descriptor(file.fileno(), blocking=False)
        except OSError:
            file.close()
            return self._mark()
        if not mine:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            return holder or "another process"
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        self._file = file
        return None

    def _mark(self) -> str | None:
        """Stands in for the lock where the disk has none."""
        try:
            self._marker.acquire()
        except filelock.Timeout:
            owner = self._marker.owner
            who = f"process {owner.pid} on {owner.hostname}" if owner else "another process"
            return f"{who} (its disk has no locks: {self._marker.lock_file} says so)"
        return None

    def shared_with(self) -> tuple[int, ...]:
        """File descriptors to hand on to a child, which then holds it until both are gone."""
        return () if self._file is None else (self._file.fileno(),)

    def release(self) -> None:
        """Gives it back, if this process has it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._marker.release()
