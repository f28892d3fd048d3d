"""What computes the pipeline, as the pipeline sees it."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pyarrow as pa


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

    def value(self, expression: ir.Scalar) -> Any:
        """Returns one number, text or truth."""
        return self.fetch(expression.as_table())[0][0].as_py()
