"""Opens the engine of a name."""

from __future__ import annotations

from contextlib import AbstractContextManager

from data_prep.engines import duckdb, spark
from data_prep.engines.base import Engine


def connect(
    engine: str = "duckdb", master: str | None = None, threads: int | None = None
) -> AbstractContextManager[Engine]:
    """Opens an engine.

    Args:
      engine: `duckdb` or `spark`.
      master: Spark's master URL, see `spark.connect`.
      threads: number of DuckDB threads, `None` for one per core.

    Returns:
      A context that gives the engine and closes it.

    Raises:
      InputError: Spark cannot be started.
    """
    return spark.connect(master) if engine == "spark" else duckdb.connect(threads)
