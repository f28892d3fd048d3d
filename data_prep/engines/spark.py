"""Spark as the engine: the same expressions, on as many machines as its master has.

Each file is read by one worker with the embedded engine, so that both engines read alike down to
the last quote. The workers need this package and see the files under the same path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.engines.engine import DuckDB, Engine
from data_prep.engines.engine import connect as connect_embedded
from data_prep.errors import InputError
from data_prep.read.readers import Reading, read_interactions
from data_prep.read.sources import Source

_BATCH = 50_000
_GOOD = ("user_id", "item_id", "domain", "timestamp")
_BAD = ("source", "line", "reason", "text")
_TEXT, _WHOLE, _REAL = pa.string(), pa.int64(), pa.float64()
# Of good rows the columns of bad ones are null, and the reverse.
_READ = pa.schema(
    dict(zip(_GOOD, (_TEXT, _TEXT, _TEXT, _REAL), strict=True))
    | dict(zip(_BAD, (_WHOLE, _WHOLE, _TEXT, _TEXT), strict=True))
)
_SQL = {_TEXT: "string", _WHOLE: "bigint", _REAL: "double"}
_READ_SQL = ", ".join(f"{field.name} {_SQL[field.type]}" for field in _READ)


class Spark(Engine):
    """A Spark session behind Ibis.

    Attributes:
      session: the Spark session.
      backend: its Ibis backend.
    """

    def __init__(self, session: Any, folder: Path):
        self.session = session
        self.folder = folder
        self.backend = ibis.pyspark.connect(session)

    def table(self, rows: pa.Table) -> ir.Table:
        """See base class."""
        return self._view(self.session.createDataFrame(rows))

    def hold(self, expression: ir.Table) -> ir.Table:
        """See base class.

        A checkpoint and no cache: plans that refer to plans grow exponentially in the k-core.
        """
        return self._view(self._frame(expression).localCheckpoint())

    def release(self, *tables: ir.Table) -> None:
        """See base class; Spark drops the blocks when nothing refers to them any more."""
        for table in tables:
            self.session.catalog.dropTempView(table.get_name())

    def fetch(self, expression: ir.Table) -> pa.Table:
        """See base class."""
        return self._frame(expression).toArrow()

    def stream(self, expression: ir.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """See base class: one partition at a time comes here."""
        packed = self._frame(expression).mapInArrow(_pack, "batch binary")
        for row in packed.toLocalIterator():
            with pa.ipc.open_stream(row["batch"]) as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, batch_rows):
                        yield batch.slice(start, batch_rows)

    def read(self, sources: Sequence[Source]) -> Reading:
        """See base class: a file is a task."""
        numbered = list(enumerate(sources))
        tasks = self.session.sparkContext.parallelize(numbered, len(numbered))
        files = tasks.map(lambda pair: (pair[0],)).toDF("number bigint")
        everything = files.mapInArrow(_Read(tuple(sources)), _READ_SQL).localCheckpoint()
        rows = self._view(everything.where("reason is null").select(*_GOOD))
        bad = self._view(everything.where("reason is not null").select(*_BAD))
        return Reading(rows, bad, tuple(s.label for s in sources), (rows,))

    def _frame(self, expression: ir.Table) -> Any:
        return self.session.sql(self.backend.compile(expression))

    def _view(self, frame: Any) -> ir.Table:
        name = ibis.util.gen_name("data_prep")
        frame.createOrReplaceTempView(name)
        return self.backend.table(name)


class _Read:
    """Reads files on a worker."""

    def __init__(self, sources: tuple[Source, ...]):
        self._sources = sources

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                with connect_embedded(threads=1) as engine:
                    yield from _read_one(engine, number, self._sources[number])


def _read_one(engine: DuckDB, number: int, source: Source) -> Iterator[pa.RecordBatch]:
    reading = read_interactions(engine, [source])
    for batch in engine.stream(reading.rows, _BATCH):
        yield _widened(batch)
    if reading.bad is not None:
        bad = reading.bad.mutate(source=ibis.literal(number, "int64"))
        for batch in engine.stream(bad, _BATCH):
            yield _widened(batch)


def _widened(batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        batch[field.name].cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in _READ
    ]
    return pa.RecordBatch.from_arrays(columns, schema=_READ)


def _pack(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Makes of each batch one row of bytes, which Spark can hand over partition by partition."""
    for batch in batches:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})


@contextlib.contextmanager
def connect(master: str | None = None) -> Iterator[Spark]:
    """Opens Spark, or joins the session that this process has.

    Args:
      master: such as `local[4]`, `spark://host:7077`, `yarn`; by default what Spark is set up with
        (`spark-submit`, `spark-defaults.conf`), and all cores of this machine without that.

    Yields:
      The engine. A session that was there before stays.

    Raises:
      InputError: there is no pyspark or no Java, or the master does not answer.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError:
        raise InputError(
            "--engine spark: pyspark is not installed; run make spark, or "
            'pip install "tf_syncrec[spark]".'
        ) from None
    before = SparkSession.getActiveSession()
    if before is None and not java_found():
        raise InputError(
            "--engine spark: there is no Java; install a Java runtime of version 17 or newer, or "
            "set JAVA_HOME to it."
        )
    settings = _SETTINGS
    if (master or "local").startswith("local"):
        # Spark's own default is whatever `python3` is.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        # And its 200 partitions are for a cluster.
        settings = settings | {"spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1))}
    builder = SparkSession.builder.appName("data_prep")
    if master is not None:
        builder = builder.master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        session = before or builder.getOrCreate()
    except (PySparkException, OSError, RuntimeError, _java_error()) as error:
        # Of an error in Java the second line says what it is.
        detail = " ".join(str(error).split("\n")[:2])
        raise InputError(
            f"--engine spark: master {master or '(default)'} cannot be used ({detail})."
        ) from error
    try:
        with tempfile.TemporaryDirectory(prefix="data_prep_") as folder:
            yield Spark(session, Path(folder))
    finally:
        if before is None:
            session.stop()


# Text is compared by its bytes and times are UTC, as in the embedded engine.
_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(_BATCH),
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def java_found() -> bool:
    """Tells whether Spark will find a Java."""
    home = os.environ.get("JAVA_HOME")
    return bool(shutil.which("java") or (home and shutil.which(os.path.join(home, "bin", "java"))))


def _java_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    return Py4JError
