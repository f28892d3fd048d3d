"""DuckDB as the engine: inside this process, on all its cores."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.engines.base import Engine

MEMORY = "2GiB"
"""What DuckDB holds at most before it writes to a temporary folder; its own default is most of the
machine. With Python and TensorFlow a preparation stays within 4 GiB, whatever the log's size."""


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

    def view(self, query: str) -> ir.Table:
        """Names a query of SQL, which is computed where it is used."""
        name = ibis.util.gen_name("data_prep")
        self.backend.raw_sql(f"CREATE TEMP VIEW {name} AS {query}")
        return self.backend.table(name, database=("temp", "main"))

    def append(self, table: ir.Table, more: ir.Table) -> None:
        """Adds rows of equal columns to a table made by `hold`."""
        self.backend.raw_sql(f"INSERT INTO {table.get_name()} {self.backend.compile(more)}")

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


@contextlib.contextmanager
def connect(threads: int | None = None) -> Iterator[DuckDB]:
    """Opens DuckDB.

    Args:
      threads: how many, `None` for one per core.

    Yields:
      The engine.
    """
    # DuckDB's own default is to spill into `.tmp` of the working directory; a folder of our own
    # (which honours `TMPDIR`) is removed whatever happens.
    with tempfile.TemporaryDirectory(prefix="data_prep_") as folder:
        options = {"temp_directory": folder, "memory_limit": MEMORY}
        if threads is not None:
            options["threads"] = str(threads)
        backend = ibis.duckdb.connect(**options)
        # After two seconds its own bar would stand between our lines. In a notebook without
        # ipywidgets it has none, and refuses all that concerns it.
        with contextlib.suppress(duckdb.InvalidInputException):
            backend.raw_sql("SET enable_progress_bar_print = false")
        try:
            yield DuckDB(backend, Path(folder))
        finally:
            backend.disconnect()
