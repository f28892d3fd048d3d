"""Rows that are no interactions: set aside with file, line and reason, and too many of them stop.

The list is JSON lines, a row a line: `{"file": ..., "line": 12, "reason": "empty item_id",
"row": "u1,,books,1500000000"}`. `line` is the row's number, from 1, where the file is Parquet.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import InputError
from data_prep.files import written_whole
from data_prep.read.text_records import CUT_OFF

if TYPE_CHECKING:
    from data_prep.engines.base import Engine
    from data_prep.read.interactions import Reading

FILE_NAME = "quarantine.jsonl"
_LISTED = 10_000  # Rows of the list where the run stops anyway.
_SHOWN = 60  # Characters of a row that a message repeats.


@dataclasses.dataclass(frozen=True)
class Quarantine:
    """The bad rows of one reading.

    Attributes:
      reasons: how many rows by reason, the most frequent first.
      rows: how many rows were read, good and bad.
      first: the first bad row, for a message; empty where there is none.
    """

    reasons: Mapping[str, int]
    rows: int
    first: str = ""

    @property
    def size(self) -> int:
        """Number of bad rows."""
        return sum(self.reasons.values())

    def exceeds(self, share: float) -> bool:
        """Tells whether more rows are bad than a share of all.

        How much a damaged gzip file has lost nobody knows, so it exceeds every share but 1.
        """
        return self.size > share * self.rows or (CUT_OFF in self.reasons and share < 1)

    def error(self, share: float, path: Path) -> InputError:
        """Returns what stops the run.

        Args:
          share: what is allowed.
          path: where the rows are listed.
        """
        counts = ", ".join(f"{count:,} × {reason}" for reason, count in self.reasons.items())
        return InputError(
            f"{self.first}. {self.size:,} of {self.rows:,} rows cannot be used ({counts}); "
            f"data.max_bad_share={share:g} allows {100 * share:g} %, and no damaged gzip file. "
            f"They are listed in {path}. Correct them, name the right columns, or allow more."
        )


def set_aside(
    engine: Engine, reading: Reading, share: float, folder: Path, failed: Path
) -> Quarantine:
    """Lists the rows that cannot be used, if there are any.

    Args:
      engine: what holds them.
      reading: the good and the bad rows.
      share: of the rows, how many may be bad.
      folder: of the dataset, where the list will be.
      failed: the file with the list in case that they are too many.

    Returns:
      What was set aside.

    Raises:
      InputError: they are too many, or all.
    """
    bad = inspect(engine, reading)
    if bad.exceeds(share):
        write(engine, reading, failed, stopped=True)
        raise bad.error(share, failed)
    if bad.size:
        write(engine, reading, folder / FILE_NAME)
    if bad.size == bad.rows:
        raise InputError(f"{', '.join(reading.labels) or 'The log'}: has no usable rows.")
    return bad


def inspect(engine: Engine, reading: Reading) -> Quarantine:
    """Counts what was read.

    Args:
      engine: what holds it.
      reading: the good and the bad rows.
    """
    good = engine.value(reading.rows.count())
    if reading.bad is None:
        return Quarantine({}, good)
    bad = reading.bad
    counts = engine.fetch(bad.group_by("reason").aggregate(rows=lambda t: t.count())).to_pylist()
    counts.sort(key=lambda row: (-row["rows"], row["reason"]))
    reasons = {row["reason"]: row["rows"] for row in counts}
    if not reasons:
        return Quarantine({}, good)
    (row,) = engine.fetch(bad.order_by("source", "line").limit(1)).to_pylist()
    first = f"{reading.labels[row['source']]}: line {row['line']}: {row['reason']}"
    if row["text"]:
        first += f" in '{row['text'][:_SHOWN]}'"
    return Quarantine(reasons, good + sum(reasons.values()), first)


def write(engine: Engine, reading: Reading, path: Path, stopped: bool = False) -> None:
    """Lists the bad rows in a file.

    Args:
      engine: what holds them.
      reading: the good and the bad rows; there must be bad ones.
      path: the file to write.
      stopped: whether the run stops, so that the first rows are enough.
    """
    assert reading.bad is not None
    rows = reading.bad.order_by("source", "line")
    rows = rows.limit(_LISTED) if stopped else rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as new, new.open("w", encoding="utf-8") as file:
        for batch in engine.stream(rows.select("source", "line", "reason", "text"), 10_000):
            for row in batch.to_pylist():
                entry = {"file": reading.labels[row["source"]], "line": row["line"]}
                entry |= {"reason": row["reason"], "row": row["text"]}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
