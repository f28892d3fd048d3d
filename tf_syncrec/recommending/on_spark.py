"""Answers for every user of a log on as many machines as Spark has: the rows of `everybody`."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.dataset import dataset, field

from data_prep import InputError
from data_prep.files import folder_aside, remove_partial, written_whole
from data_prep.log_histories import BATCH, settled, spark_histories
from data_prep.settings import DataConfig
from tf_syncrec.cli import load_tensorflow
from tf_syncrec.utils.terminal import SECONDS_BETWEEN_LINES

if TYPE_CHECKING:
    from tf_syncrec.recommending.filters import Choice
    from tf_syncrec.recommending.parts import Request
    from tf_syncrec.recommending.served_model import ServedModel

COLUMNS = "user_id string, domain string, rank int, item_id string, score float, fallback boolean"
"""`parts.SCHEMA` in Spark's words."""

USERS_AT_ONCE = 2_000
"""Histories that Spark hands to a worker together; long ones come by themselves."""

_loaded: dict[tuple[str, str], "ServedModel"] = {}
"""Of this process, a worker's, which answers one task after the other."""


def recommend_on_spark(
    request: "Request",
    choice: "Choice",
    log: DataConfig,
    output: Path,
    report: Callable[[str], None] = print,
) -> None:
    """Answers everybody, whole or not at all. What a stopped command had answered is lost.

    Args:
        request: what is asked for.
        choice: what is chosen from.
        log: where the histories are, with Spark as the engine.
        output: a folder, which is not there yet.
        report: told one line now and then.

    Raises:
        InputError: the log or the export cannot be used, here or where the workers are, or
            another process is writing to the output.
    """
    from tf_syncrec.recommending.everybody import parts_of, time_in

    with parts_of(output) as parts:
        if parts.request_file.exists():
            raise InputError(
                f"--output: {parts.folder} holds output that was begun without --engine spark; "
                "delete it to start over"
            )
        remove_partial(parts.folder)
        with spark_histories(log, parts.folder, report) as histories, written_whole(output) as new:
            now = time_in(request.now, histories.latest) if request.now else 0.0
            begun = time.perf_counter()
            answers = histories.frame.mapInArrow(
                _Answer(request, choice, now, histories.ticks), COLUMNS
            )
            with _small_batches(answers.sparkSession), _progress(answers.sparkSession, report):
                try:
                    answers.write.option("compression", "zstd").parquet(f"file://{new.absolute()}")
                except Exception as error:
                    raise _told_by_a_worker(error) or error from None
            _name_parts(new)
            lists = histories.users * len(request.domains)
            full = dataset(new).count_rows(filter=field("rank") == request.k)
            if full < lists:
                report(f"{lists - full:,} of {lists:,} lists have fewer than {request.k} items.")
            rate = histories.users / (time.perf_counter() - begun)
            report(f"{histories.users:,} users, {rate:,.0f} a second")
        with folder_aside(output.parent, output.name) as aside:
            parts.folder.rename(aside / parts.folder.name)


class _Answer:
    """What runs on a worker: histories in, rows out."""

    def __init__(self, request: "Request", choice: "Choice", now: float, ticks: int):
        self._choice = choice
        self._request, self._now, self._ticks = request, now, ticks

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        served = _served(self._request)
        from tf_syncrec.recommending.everybody import answered

        for batch in batches:
            users = settled(batch, self._ticks)
            while users.num_rows:
                # As many as a part has on one machine, of long histories fewer.
                ends = users["items"].offsets.to_numpy()
                some = max(int((ends[1:] - ends[0] <= BATCH).sum()), 1)
                found = answered(
                    served, self._request, self._choice, self._now, users.slice(0, some)
                )
                yield from found.to_batches()
                users = users.slice(some)


def _served(request: "Request") -> "ServedModel":
    """The model, loaded once a process."""
    key = request.version, request.fingerprint
    if key not in _loaded:
        load_tensorflow(side_by_side=False)  # threads are set below
        import tensorflow as tf
        from pyspark import TaskContext

        from tf_syncrec.recommending.served_model import ServedModel

        task = TaskContext.get()
        threads = task.cpus() if task else 1
        with contextlib.suppress(RuntimeError):  # another export was asked in this process before
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        _loaded.clear()
        _loaded[key] = ServedModel(Path(request.version), "workers need it under this path")
    return _loaded[key]


@contextlib.contextmanager
def _small_batches(session: Any) -> Iterator[None]:
    """Of a session that may be somebody else's, and is left as it was."""
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = session.conf.get(key)
    session.conf.set(key, str(USERS_AT_ONCE))
    try:
        yield
    finally:
        session.conf.set(key, before)


@contextlib.contextmanager
def _progress(session: Any, report: Callable[[str], None]) -> Iterator[None]:
    """Says now and then how many tasks of the stage at work are done."""
    stop, tracker = threading.Event(), session.sparkContext.statusTracker()

    def look() -> None:
        while not stop.wait(SECONDS_BETWEEN_LINES):
            for number in tracker.getActiveStageIds():
                if stage := tracker.getStageInfo(number):
                    done, all_ = stage.numCompletedTasks, stage.numTasks
                    report(f"Spark: {done:,} of {all_:,} tasks of stage {number}")

    watch = threading.Thread(target=look, name="progress", daemon=True)
    watch.start()
    try:
        yield
    finally:
        stop.set()
        watch.join()


def _told_by_a_worker(error: Exception) -> InputError | None:
    """The mistake of a user that a worker met, out of Spark's traceback of it."""
    for line in str(error).splitlines():
        kind, _, said = line.partition(": ")
        if kind.endswith(InputError.__name__):
            return InputError(said)
    return None


def _name_parts(folder: Path) -> None:
    """Leaves the files with rows, called as those of one machine."""
    files = sorted(folder.glob("part-*.parquet"))
    for file in folder.iterdir():
        if file not in files:
            file.unlink()
    for number, file in enumerate(files):
        file.rename(folder / f"part-{number:05d}.parquet")
