"""From files, or the generator, to one uniform table of interactions, with either engine."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data_prep.engines import duckdb as embedded
from data_prep.engines.base import Engine
from data_prep.engines.duckdb import DuckDB
from data_prep.engines.spark import BATCH as SPARK_BATCH
from data_prep.engines.spark import Spark
from data_prep.read.file_scan import read_files
from data_prep.read.locate import Located, fetched
from data_prep.read.sources import ROLES, Source
from data_prep.read.synthetic import generate
from data_prep.settings import DataConfig

_BAD = ("source", "line", "reason", "text")
# What a worker sends: of good rows the columns of bad ones are null, and the reverse.
_READ = pa.schema(
    [(role, pa.float64() if role == "timestamp" else pa.string()) for role in ROLES]
    + [(name, pa.int64() if name in ("source", "line") else pa.string()) for name in _BAD]
)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
      rows: `user_id: string, item_id: string, domain: string, timestamp: float64`, no nulls.
        Timestamps keep the source's unit, except that Parquet dates and times become epoch seconds.
      bad: rows that are no interactions: `source: int64` (place in the list of sources), `line`
        (of a Parquet file: row, from 1), `reason, text`; `None` where there are none.
      labels: how each source is called.
      held: tables made by `hold` that `rows` consists of.
    """

    rows: ir.Table
    bad: ir.Table | None = None
    labels: tuple[str, ...] = ()
    held: tuple[ir.Table, ...] = ()


def read_dataset(
    engine: Engine,
    settings: DataConfig,
    located: Located,
    downloads: Path,
    report: Callable[[str], None],
) -> Reading:
    """Reads, downloads or generates the interactions.

    Args:
      engine: what reads.
      settings: which dataset.
      located: where it is.
      downloads: folder for files that have to be fetched.
      report: told one line a download.

    Raises:
      InputError: a file cannot be fetched or read.
    """
    if settings.dataset == "synthetic":
        return Reading(engine.table(generate(settings.synthetic)))
    return read_interactions(engine, fetched(settings, located, downloads, report))


def read_interactions(engine: Engine, sources: Sequence[Source]) -> Reading:
    """Reads all rows of all files.

    Under Spark a file is read by one worker, with DuckDB, so that both engines read alike down to
    the last quote.

    Args:
      engine: what reads, or what has workers that do.
      sources: the files.

    Returns:
      Tables held by the engine.

    Raises:
      InputError: a Parquet file is damaged.
    """
    labels = tuple(s.label for s in sources)
    if isinstance(engine, Spark):
        read = engine.hold_each(_read_file, sources, _READ)
        good, bad = read.filter(read.reason.isnull()), read.filter(read.reason.notnull())
        return Reading(good.select(*ROLES), bad.select(*_BAD), labels, (read,))
    assert isinstance(engine, DuckDB)
    rows, faulty = read_files(engine, sources)
    return Reading(_union(rows), _union(faulty) if faulty else None, labels, tuple(rows))


def _union(tables: Sequence[ir.Table]) -> ir.Table:
    return functools.reduce(lambda one, other: one.union(other), tables)


def _read_file(number: int, source: Source) -> Iterator[pa.RecordBatch]:
    """Reads one file on a worker of Spark."""
    with embedded.connect(threads=1) as engine:
        rows, bad = read_files(engine, [source])
        numbered = [table.mutate(source=ibis.literal(number, "int64")) for table in bad]
        for table in [*rows, *numbered]:
            absent = {name: ibis.null() for name in _READ.names if name not in table.columns}
            everything = table.mutate(**absent).select(*_READ.names)
            for batch in engine.stream(everything, SPARK_BATCH):
                yield batch.cast(_READ)
