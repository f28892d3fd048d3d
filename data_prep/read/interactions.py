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
from data_prep.errors import InputError
from data_prep.read.datasets import complete_journey
from data_prep.read.datasets.synthetic import generate
from data_prep.read.file_scan import read_files
from data_prep.read.locate import Located, fetched
from data_prep.read.row_checks import LARGEST_TIME
from data_prep.read.sources import Source
from data_prep.read.values import COLUMNS, DATED, FINENESS, FROM_FLOAT, IDS, TRIMMED
from data_prep.settings import DataConfig

_BAD = ("source", "line", "reason", "text")
_TYPES = {"timestamp": pa.float64(), "rest": pa.float64()}
_TYPES |= dict.fromkeys(("notes", "source", "line"), pa.int64())
# What a worker sends: of good rows the columns of bad ones are null, and the reverse.
_READ = pa.schema([(name, _TYPES.get(name, pa.string())) for name in (*COLUMNS, *_BAD)])
_LAST_BIT = 2.0**-52
_NOTES = {"trimmed": TRIMMED, "dated": DATED, "from_float": FROM_FLOAT}


@dataclasses.dataclass(frozen=True)
class Reading:
    """What was read.

    Attributes:
      rows: `user_id: string, item_id: string, domain: string, timestamp: float64`, no nulls.
        Timestamps keep the source's unit, except that dates become epoch seconds. Where a float
        would not keep their order, `timestamp` is `int64`, see `ticks`.
      bad: rows that are no interactions: `source: int64` (place in the list of sources), `line`
        (of a Parquet file: row, from 1), `reason, text`; `None` where there are none.
      labels: how each source is called.
      held: tables made by `hold` that `rows` consists of.
      ticks: how many units of `timestamp` are one of the source, or of seconds: 1, or a million or
        a thousand million.
      notes: numbers of good rows of which something was changed: `trimmed` (a blank at an end was
        dropped), `dated` (the time was a date), `from_float` (an id was a float or a decimal); None
        where nothing is read.
    """

    rows: ir.Table
    bad: ir.Table | None = None
    labels: tuple[str, ...] = ()
    held: tuple[ir.Table, ...] = ()
    ticks: int = 1
    notes: dict[str, int] | None = None


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
      report: told one line a download, or a reason for which rows are left out.

    Raises:
      InputError: a file cannot be fetched or read.
    """
    if settings.dataset == "synthetic":
        return Reading(engine.table(generate(settings.synthetic)))
    if settings.dataset == "complete_journey":
        transactions, products = (source.path for source in located.sources)
        return Reading(engine.table(complete_journey.read(transactions, products, report)))
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
      InputError: a Parquet file is damaged, or no 64 bits hold all times.
    """
    labels = tuple(s.label for s in sources)
    if isinstance(engine, Spark):
        read = engine.hold_each(_read_file, sources, _READ)
        good, bad = read.filter(read.reason.isnull()), read.filter(read.reason.notnull())
        held, unusable = (read,), bad.select(*_BAD)
    else:
        assert isinstance(engine, DuckDB)
        rows, faulty = read_files(engine, sources)
        good, held, unusable = _union(rows), tuple(rows), _union(faulty) if faulty else None
    notes = {name: ((good.notes & bit) > 0).sum() for name, bit in _NOTES.items()}
    facts = good.aggregate(beyond=(good.rest != 0).any(), **notes)
    found = engine.fetch(facts).to_pylist()[0]
    said = {name: found[name] or 0 for name in notes}
    ticks = _ticks(engine, good, labels) if found["beyond"] else None
    exact = good.timestamp if ticks is None else _in_ticks(good, ticks)
    return Reading(good.select(*IDS, timestamp=exact), unusable, labels, held, ticks or 1, said)


def _ticks(engine: Engine, rows: ir.Table, labels: Sequence[str]) -> int:
    """Chooses the unit in which 64 bits hold all times exactly."""
    floor, of_float, of_rest = _parts(rows)
    nanos = of_float + of_rest
    time = rows.timestamp
    # A float that is finer than that has no rest to say so; but its last bit is nobody's.
    apart = (time - floor.cast("float64") - of_float / 1e9).abs()
    as_read = apart <= _LAST_BIT * ibis.greatest(time.abs(), 1.0)
    facts = rows.aggregate(
        whole=(nanos % 10**9 == 0).all(),
        micro=(nanos % 1000 == 0).all(),
        kept=((rows.rest != 0) | as_read).all(),
        largest=time.abs().max(),
    )
    found = engine.fetch(facts).to_pylist()[0]
    for ticks, is_enough in ((1, found["whole"]), (10**6, found["micro"]), (10**9, True)):
        if found["kept"] and is_enough and found["largest"] < LARGEST_TIME / ticks:
            return ticks
    raise InputError(
        f"{', '.join(labels)}: the timestamps, up to {found['largest']:.15g} and with fractions, "
        "have more digits than 64 bits hold, so that their order would be lost; write whole "
        "numbers, or times as text of ISO 8601."
    )


def _in_ticks(rows: ir.Table, ticks: int) -> ir.IntegerValue:
    floor, of_float, of_rest = _parts(rows)
    fraction = ((of_float + of_rest) / (10**9 // ticks)).round().cast("int64")
    return floor * ibis.literal(ticks, "int64") + fraction


def _parts(rows: ir.Table) -> tuple[ir.IntegerValue, ir.IntegerValue, ir.IntegerValue]:
    """Of a time the whole seconds, the nanoseconds of its float beyond them, and of its rest.

    A float has nanoseconds as far as `values` took them for its own, when it made the rest.
    """
    floor = rows.timestamp.floor().cast("int64")
    fraction = rows.timestamp - floor.cast("float64")
    size = rows.timestamp.abs()
    cases = [
        (size < bound, (fraction * fine).round() * (10**9 // fine)) for bound, fine in FINENESS
    ]
    of_float = ibis.cases(*cases, else_=fraction.round() * 10**9).cast("int64")
    return floor, of_float, (rows.rest * 1e9).round().cast("int64")


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
