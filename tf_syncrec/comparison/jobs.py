"""Computes cells, each in a process of its own, and shares the work with other comparisons."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import InputError
from data_prep.files import write_whole
from tf_syncrec.comparison.cells import RESULT, VALIDATION, Cell
from tf_syncrec.config import ADDED
from tf_syncrec.utils.locks import RunLock
from tf_syncrec.utils.nested import flat
from tf_syncrec.utils.terminal import say

SECONDS_BETWEEN_LOOKS = 5.0
"""How often one comparison looks whether another has finished a cell."""


class Job(NamedTuple):
    """A cell to compute.

    Attributes:
        cell: what is computed.
        directory: where.
        request: what its `cell.json` says.
        number: of how many, for progress lines.
        trial: whether validation is all that is wanted.
    """

    cell: Cell
    directory: Path
    request: dict[str, Any]
    number: str
    trial: bool = False

    @property
    def title(self) -> str:
        """For progress lines."""
        return f"{self.number} {self.cell.title}"

    @property
    def finished(self) -> bool:
        """Whether all that is wanted is there."""
        files = (RESULT, VALIDATION) if self.trial else (RESULT,)
        return any((self.directory / file).exists() for file in files)


def check_same(directory: Path, request: dict[str, Any]) -> None:
    """Raises InputError if the directory holds a cell that something else was asked of."""
    file = directory / "cell.json"
    if not file.exists():
        return
    known, wanted = dict(flat(json.loads(file.read_text()))), dict(flat(request))
    for key in known | wanted:
        setting = key.removeprefix("config.")
        if key not in known and setting in ADDED and wanted[key] == ADDED[setting]:
            continue
        # Where the data lies may change; what it is, `dataset` says.
        if known.get(key) != wanted.get(key) and not key.startswith("config.data."):
            raise InputError(
                f"--output_dir: {directory} was made with {setting} = "
                f"{known.get(key)!r}, now it is {wanted.get(key)!r}; choose another directory or "
                "delete it first"
            )


def run_jobs(jobs: Sequence[Job]) -> None:
    """Computes what is not finished; what other comparisons are computing, it waits for.

    One that ends without finishing its cell leaves it to those that wait.

    Raises:
        SystemExit: a cell failed; the message says which, and why.
    """
    left, before = list(jobs), 0
    while True:
        holders = {job.number: holder for job in left if (holder := _run(job))}
        left = [job for job in left if job.number in holders]
        if not left:
            return
        if len(left) != before:
            who = ", ".join(dict.fromkeys(holders.values()))
            say(f"waiting for other processes to finish: {', '.join(holders)} ({who})")
            before = len(left)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _run(job: Job) -> str | None:
    """Computes a cell, unless it is finished or another comparison is computing it.

    Returns:
        Who else is computing it; None where it is finished now.
    """
    if job.finished:
        say(f"{job.title}: finished before")
        return None
    job.directory.mkdir(parents=True, exist_ok=True)
    lock = RunLock(job.directory)
    if holder := lock.take():
        return holder
    try:
        if not job.finished:  # since the first look
            write_whole(job.directory / "cell.json", json.dumps(job.request, indent=1))
            _compute(job, lock)
    finally:
        lock.release()
    return None


def _compute(job: Job, lock: RunLock) -> None:
    """Runs the process of a cell, which has the lock as well, and shows what it says."""
    start, last = time.perf_counter(), ""
    # It ends when its standard input does, so with this process, however that ends.
    command = [sys.executable, "-m", "tf_syncrec.comparison.worker"]
    command += [str(job.directory), "--with_parent", *(["--trial"] if job.trial else [])]
    log_file, goes_on = job.directory / "log.txt", (job.directory / VALIDATION).exists()
    with (
        log_file.open("a" if goes_on else "w") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=lock.shared_with(),
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if last := line.strip() or last:
                    say(f"{job.title}: {last}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        reason = last or f"exit code {process.returncode}"
        if process.returncode < 0:  # what it said last has nothing to do with it
            reason = f"ended by signal {-process.returncode} (9: killed, perhaps out of memory)"
        sys.exit(
            f"error: {job.title} failed, the remaining ones were not started; see {log_file}: "
            f"{reason}"
        )
    say(f"{job.title}: done in {time.perf_counter() - start:.0f} s")
