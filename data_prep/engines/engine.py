"""What computes the pipeline: DuckDB inside this process, or Spark on a cluster."""

from __future__ import annotations

import abc
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_prep.read.readers import Reading
    from data_prep.read.sources import Source

ENGINES = ("duckdb", "spark")

MEMORY = "2GiB"
"""What DuckDB holds at most before it writes to a temporary folder; its own default is most of the
machine. With Python and TensorFlow a preparation stays within 4 GiB, whatever the log's size."""


class Engine(abc.ABC):
    """An open connection to what computes; its tables are gone when it is closed.

    Attributes:
      folder: for files of this process, that are gone when it is closed.
    """

    folder: Path

    @abc.abstractmethod
    def table(self, rows: pa.Table) -> ir.Table:
        """Brings rows made in memory into the engine."""

    @abc.abstractmethod
    def hold(self, expression: ir.Table) -> ir.Table:
        """Computes an expression once and keeps its rows, until `release`."""

    @abc.abstractmethod
    def release(self, *tables: ir.Table) -> None:
        """Drops tables made by `hold`, to give their memory back early."""

    @abc.abstractmethod
    def fetch(self, expression: ir.Table) -> pa.Table:
        """Returns the rows of an expression; for those that fit in memory."""

    @abc.abstractmethod
    def stream(self, expression: ir.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Yields an expression's rows in batches, without holding all of them here.

        Exhaust one stream before asking the same engine for anything else.

        Args:
          expression: what to compute, from tables that the engine holds.
          batch_rows: rows of a batch, or fewer.

        Yields:
          Batches, in the expression's order.
        """

    @abc.abstractmethod
    def read(self, sources: Sequence[Source]) -> Reading:
        """Reads files, see `readers.read_interactions`."""

    def value(self, expression: ir.Scalar) -> Any:
        """Returns one number, text or truth."""
        return self.fetch(expression.as_table())[0][0].as_py()


class DuckDB(Engine):
    """The embedded engine.

    Attributes:
      backend: its Ibis backend.
    """

    def __init__(self, backend: Any, folder: Path):
        self.backend = backend
        self.folder = folder

    def table(self, rows: pa.Table | pa.RecordBatchReader) -> ir.Table:
        """See base class; a reader is consumed at once."""
        if isinstance(rows, pa.Table):
            return ibis.memtable(rows)
        name, passing = ibis.util.gen_name("data_prep"), ibis.util.gen_name("data_prep")
        self.backend.con.register(passing, rows)
        self.backend.con.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {passing}")
        self.backend.con.unregister(passing)
        return self.backend.table(name, database=("temp", "main"))

    def hold(self, expression: ir.Table) -> ir.Table:
        """See base class.

        Ibis's own `cache` drops its table when the expression is collected, which may be after the
        connection is closed or the interpreter is shutting down, and then prints a traceback.
        """
        return self.backend.create_table(ibis.util.gen_name("data_prep"), expression, temp=True)

    def release(self, *tables: ir.Table) -> None:
        """See base class."""
        for table in tables:
            # Plain SQL: Ibis 12.0's `drop_table` loses the name with sqlglot 30 ("DROP TABLE").
            self.backend.raw_sql(f"DROP TABLE {table.get_name()}")

    def fetch(self, expression: ir.Table) -> pa.Table:
        """See base class."""
        return self.backend.to_pyarrow(expression)

    def stream(self, expression: ir.Table, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """See base class."""
        # DuckDB 2.0 has no `fetch_record_batch`, which Ibis 12.0's `to_pyarrow_batches` calls.
        relation = self.backend.con.sql(self.backend.compile(expression))
        yield from relation.to_arrow_reader(batch_rows)

    def read(self, sources: Sequence[Source]) -> Reading:
        """See base class."""
        from data_prep.read.readers import read_interactions

        return read_interactions(self, sources)


@contextlib.contextmanager
def connect(
    engine: str = "duckdb", master: str | None = None, threads: int | None = None
) -> Iterator[Any]:
    """Opens an engine.

    Args:
      engine: one of `ENGINES`.
      master: Spark's master URL, see `spark.connect`.
      threads: number of DuckDB threads, `None` for one per core.

    Yields:
      The engine.

    Raises:
      InputError: there is no such engine, or Spark cannot be started.
    """
    if engine == "spark":
        from data_prep.engines import spark  # An extra, and half a second.

        with spark.connect(master) as connection:
            yield connection
        return
    check_engine(engine, master)
    # DuckDB's own default is to spill into `.tmp` of the working directory; a folder of our own
    # (which honours `TMPDIR`) is removed whatever happens.
    with tempfile.TemporaryDirectory(prefix="data_prep_") as folder:
        options = {"temp_directory": folder, "memory_limit": MEMORY}
        if threads is not None:
            options["threads"] = str(threads)
        backend = ibis.duckdb.connect(**options)
        try:
            yield DuckDB(backend, Path(folder))
        finally:
            backend.disconnect()


def check_engine(engine: str, master: str | None) -> None:
    """Raises `InputError` for a name that is no engine, and a master without Spark."""
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: unknown; expected one of {', '.join(ENGINES)}.")
    if master is not None and engine != "spark":
        raise InputError(f"data.spark_master={master}: belongs to --engine spark, not to {engine}.")
