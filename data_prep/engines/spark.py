"""Spark as the engine: the same expressions, on as many machines as its master has.

Workers that are to run Python need this package, and see files under the same path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.engines.base import Engine
from data_prep.errors import InputError

BATCH = 50_000
"""Rows that go to a worker, or come from one, at a time."""

_SQL = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double"}


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

    def hold_each(
        self,
        make: Callable[[int, Any], Iterator[pa.RecordBatch]],
        parts: Sequence[Any],
        schema: pa.Schema,
    ) -> ir.Table:
        """Holds rows that workers make in Python, a task a part.

        Args:
          make: given a part's number and the part, yields its rows; it is sent to the workers.
          parts: what there is to do.
          schema: of the rows: texts, whole numbers of 64 bits, float64.
        """
        columns = ", ".join(f"{field.name} {_SQL[field.type]}" for field in schema)
        numbers = [(number,) for number in range(len(parts))]
        tasks = self.session.sparkContext.parallelize(numbers, len(parts)).toDF("number bigint")
        made = tasks.mapInArrow(_Make(make, tuple(parts)), columns)
        return self._view(made.localCheckpoint())

    def lists(self, expression: ir.Table, key: str, columns: Sequence[str], parts: int) -> Any:
        """A DataFrame for work that is done in Python on the workers.

        Args:
          expression: what to compute.
          key: a column, of which each value becomes a row.
          columns: what becomes `rows`, a list of structs, ascending.
          parts: how many tasks; no fewer than tasks that run at a time are made.
        """
        from pyspark.sql import functions

        parts = max(parts, 4 * self.session.sparkContext.defaultParallelism)
        # By a number that is given: Spark's own goes by bytes, and knows nothing of the work.
        apart = self._frame(expression).repartition(parts, key)
        rows = functions.sort_array(functions.collect_list(functions.struct(*columns)))
        return apart.groupBy(key).agg(rows.alias("rows"))

    def _frame(self, expression: ir.Table) -> Any:
        return self.session.sql(self.backend.compile(expression))

    def _view(self, frame: Any) -> ir.Table:
        name = ibis.util.gen_name("data_prep")
        frame.createOrReplaceTempView(name)
        return self.backend.table(name)


class _Make:
    """What `hold_each` runs on a worker."""

    def __init__(self, make: Callable[[int, Any], Iterator[pa.RecordBatch]], parts: tuple):
        self._make = make
        self._parts = parts

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                yield from self._make(number, self._parts[number])


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
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH),
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
