"""Opens the engine of a name."""

from __future__ import annotations

from contextlib import AbstractContextManager

from data_prep.engines import duckdb, spark
from data_prep.engines.base import Engine
from data_prep.errors import InputError

ENGINES = ("duckdb", "spark")


def connect(
    engine: str = "duckdb", master: str | None = None, threads: int | None = None
) -> AbstractContextManager[Engine]:
    """Opens an engine.

    Args:
      engine: one of `ENGINES`.
      master: Spark's master URL, see `spark.connect`.
      threads: number of DuckDB threads, `None` for one per core.

    Returns:
      A context that gives the engine and closes it.

    Raises:
      InputError: there is no such engine, or Spark cannot be started.
    """
    check_engine(engine, master)
    return spark.connect(master) if engine == "spark" else duckdb.connect(threads)


def check_engine(engine: str, master: str | None) -> None:
    """Raises `InputError` for a name that is no engine, and a master without Spark."""
    if engine not in ENGINES:
        raise InputError(f"--engine {engine}: unknown; expected one of {', '.join(ENGINES)}.")
    if master is not None and engine != "spark":
        raise InputError(f"data.spark_master={master}: belongs to --engine spark, not to {engine}.")
