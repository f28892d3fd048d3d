"""The embedded engine: a DuckDB connection behind Ibis, and tables that it holds."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

import ibis
import ibis.expr.types as ir
import pyarrow as pa
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend


@contextlib.contextmanager
def connect(threads: int | None = None) -> Iterator[Backend]:
    """Opens an in-memory DuckDB that may spill to a temporary folder.

    DuckDB's own default is to spill into `.tmp` of the working directory; a folder of our own
    (which honours `TMPDIR`) is removed whatever happens.

    Args:
      threads: number of DuckDB threads, `None` for one per core.

    Yields:
      The Ibis backend; tables made through it disappear on exit.
    """
    with tempfile.TemporaryDirectory(prefix="data_prep_") as folder:
        options = {"temp_directory": folder}
        if threads is not None:
            options["threads"] = str(threads)
        connection = ibis.duckdb.connect(**options)
        try:
            yield connection
        finally:
            connection.disconnect()


def hold(connection: SQLBackend, expression: ir.Table) -> ir.Table:
    """Computes an expression once and keeps its rows in the engine.

    Ibis's own `cache` drops its table when the expression is collected, which may be after the
    connection is closed or the interpreter is shutting down, and then prints a traceback.

    Args:
      connection: the engine.
      expression: what to compute.

    Returns:
      The table of its rows, until `release` or the end of the connection.
    """
    return connection.create_table(ibis.util.gen_name("data_prep"), expression, temp=True)


def release(connection: SQLBackend, *tables: ir.Table) -> None:
    """Drops tables made by `hold`, to give their memory back early."""
    for table in tables:
        # Plain SQL: Ibis 12.0's `drop_table` loses the name with sqlglot 30 ("DROP TABLE").
        connection.raw_sql(f"DROP TABLE {table.get_name()}")


def stream(
    connection: SQLBackend, expression: ir.Table, batch_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yields an expression's rows in batches, without holding all of them in Python.

    Exhaust one stream before asking the same connection for anything else.

    Args:
      connection: the engine.
      expression: what to compute, from tables that the engine holds.
      batch_rows: rows of a batch.

    Yields:
      Batches, in the expression's order.
    """
    if isinstance(connection, Backend):
        # DuckDB 2.0 has no `fetch_record_batch`, which Ibis 12.0's `to_pyarrow_batches` calls.
        relation = connection.con.sql(connection.compile(expression))
        yield from relation.to_arrow_reader(batch_rows)
    else:
        yield from connection.to_pyarrow_batches(expression, chunk_size=batch_rows)
