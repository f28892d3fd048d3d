"""Answers for every user of a log, written as Parquet: whole or not at all, and gone on with."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from data_prep import InputError
from data_prep.log_histories import write_histories
from data_prep.pipeline.times import per_second
from data_prep.settings import DataConfig
from tf_syncrec.cli import moment_option
from tf_syncrec.recommending.filters import Choice
from tf_syncrec.recommending.parts import SCHEMA, SUFFIX, Parts, Request
from tf_syncrec.recommending.served_model import ServedModel
from tf_syncrec.utils.locks import RunLock
from tf_syncrec.utils.terminal import Pace

USERS_AT_ONCE = 128
"""Histories that are answered together, at most."""

ITEMS_AT_ONCE = 2**15
"""Items of the histories that are answered together, padding too: long ones come by themselves."""


def recommend_everybody(
    served: ServedModel | None,
    request: Request,
    log: DataConfig,
    output: Path,
    processes: int = 1,
    report: Callable[[str], None] = print,
    choice: Choice | None = None,
) -> None:
    """Answers everybody, or goes on where an equal request was stopped.

    Args:
        served: what answers, the version that the request names; None: it is loaded where it is
            needed, which with several processes is not here.
        request: what is asked for.
        log: where the histories are.
        output: see `Parts.finish`.
        processes: how many work on it.
        report: told one line now and then.
        choice: what is chosen from; None: everything.

    Raises:
        InputError: the log or the export cannot be used, another process is writing to the output,
            or the parts that are there answer another request.
        SystemExit: a process failed.
    """
    with parts_of(output) as parts:
        parts.begin(request, choice or Choice())
        if not parts.histories_file.exists():
            write_histories(log, parts.histories_file, report)
        now = time_in(request.now, parts.latest()) if request.now else 0.0
        sizes = parts.sizes()
        left = [number for number in range(len(sizes)) if not parts.file(number).exists()]
        if len(left) < len(sizes):
            report(f"{len(sizes) - len(left):,} of {len(sizes):,} parts were written before.")
        users = sum(sizes)
        pace = Pace(users, users - sum(sizes[number] for number in left), "users", report)
        if processes == 1 or len(left) < 2:
            served = served or ServedModel(Path(request.version))
            answered_parts = answer_parts(served, parts, left, now)
        else:
            answered_parts = _in_processes(parts, left, now, min(processes, len(left)))
        for number in answered_parts:
            pace.add(sizes[number])
        short, lists = parts.short_lists(len(sizes))
        if short:
            report(f"{short:,} of {lists:,} lists have fewer than {request.k} items.")
        parts.finish(output, len(sizes))


@contextlib.contextmanager
def parts_of(output: Path) -> Iterator[Parts]:
    """The folder beside an output, which this process alone has until the end.

    Raises:
        InputError: the output is there and cannot be replaced, another process is writing to it,
            or nobody can.
    """
    if output.is_dir() or (output.suffix != ".parquet" and output.exists()):
        raise InputError(f"--output {output}: is there already; delete it, or choose another name")
    parts = Parts(output.with_name(output.name + SUFFIX))
    try:
        parts.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror})") from None
    lock = RunLock(parts.folder)
    if holder := lock.take():
        raise InputError(f"--output {output}: is being written by {holder}")
    try:
        yield parts
    finally:
        lock.release()


def time_in(text: str, latest: float) -> float:
    """When the answers are wanted, in the unit of the log.

    Args:
        text: a number in that unit, or ISO 8601.
        latest: the time of the last event.

    Raises:
        InputError: that was before the last event.
    """
    moment = moment_option(text)
    now = moment if isinstance(moment, float) else moment.timestamp() * per_second(latest)
    if now < latest:
        raise InputError(
            f"--now {text}: is {now:.15g} in the unit of the log, whose last event is later, "
            f"{latest:.15g}"
        )
    return now


def answer_parts(
    served: ServedModel, parts: Parts, numbers: Iterable[int], now: float
) -> Iterator[int]:
    """Answers some parts one after the other; yields the number of each when it is written."""
    request, choice = parts.request(), parts.choice()
    for number in numbers:
        parts.write(number, answered(served, request, choice, now, parts.histories(number)))
        yield number


def asked_together(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Users who are answered together: of like lengths, as all are padded to the longest.

    Args:
        lengths: `[users]` of their histories.

    Yields:
        Places of users; each of them once.
    """
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        rows_at_once = max(ITEMS_AT_ONCE // max(int(lengths[order[0]]), 1), 1)
        some, order = np.split(order, [min(rows_at_once, USERS_AT_ONCE)])
        yield some


def answered(
    served: ServedModel, request: Request, choice: Choice, now: float, users: pa.RecordBatch
) -> pa.Table:
    """Answers to some users, in their order.

    Args:
        served: what answers.
        request: what is asked for.
        choice: what is chosen from.
        now: when that is, in the unit of the log; 0: not known.
        users: their histories, see `data_prep.log_histories.SCHEMA`.

    Returns:
        Rows of `SCHEMA`.
    """
    names = users["user_id"].to_numpy(zero_copy_only=False)
    lengths = np.diff(users["items"].offsets.to_numpy())
    chunks = []
    for some in asked_together(lengths):
        rows = users.take(pa.array(some))
        histories, when = rows["items"].to_pylist(), rows["timestamps"].to_pylist()
        times = when, [now] * len(some)
        found = served.in_each_domain(
            *(names[some], histories, choice.asked(request.k), request.domains),
            times=times,
            filters=choice.filters,
        )
        found = choice.of(found, request.k)
        chunks.append(found._replace(users=some[found.users]))
    users_, domains, ranks, items, scores, fallback = (
        np.concatenate(column) for column in zip(*chunks, strict=True)
    )
    back = np.argsort(users_, kind="stable")
    columns = [
        pa.array(names[users_[back]], pa.string()),
        pa.array(domains[back], pa.binary()).cast(pa.string()),
        pa.array(ranks[back], pa.int32()),
        pa.array(items[back], pa.binary()).cast(pa.string()),
        pa.array(scores[back], pa.float32()),
        pa.array(fallback[back], pa.bool_()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _in_processes(parts: Parts, left: list[int], now: float, count: int) -> Iterator[int]:
    """Shares parts among processes, which end when this one does; yields those that are written."""
    command = [sys.executable, "-m", "tf_syncrec.recommending.worker", str(parts.folder)]
    workers = [
        subprocess.Popen(
            [*command, str(count), repr(now), *(str(number) for number in left[first::count])],
            stdin=subprocess.PIPE,
        )
        for first in range(count)
    ]
    try:
        at_work, waited_for = True, set(left)
        while at_work:
            at_work = any(worker.poll() is None for worker in workers)
            if failed := next((worker for worker in workers if worker.poll()), None):
                raise SystemExit(
                    f"error: a process ended with {failed.returncode}; finished parts are kept, "
                    "and the same command resumes"
                )
            written = {number for number in waited_for if parts.file(number).exists()}
            waited_for -= written
            yield from sorted(written)
            time.sleep(0.2 * at_work)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
