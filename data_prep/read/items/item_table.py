"""What is known of items, read: one row an item, one typed column an attribute."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_prep.errors import InputError
from data_prep.read.datasets import shared_taste
from data_prep.read.items.cells import BadCell, read_cells
from data_prep.read.items.item_file import DOMAIN, ITEM, ItemFile
from data_prep.read.items.kinds import Column, column_of, is_text
from data_prep.read.items.plain_types import plain
from data_prep.read.sources import Source
from data_prep.read.tables import place_of, read_table, trimmed

_SHOWN = 60  # Characters of an example.


@dataclasses.dataclass(frozen=True)
class Items:
    """What a file says of items.

    Attributes:
      table: `item_id: string`, `domain: string` if the file has one, and a typed column for each of
        `columns` that is not ignored, see `cells`; each item once, in the order of the file.
      columns: what each column is, also those that are ignored.
      label: how to call the file in a message.
      faults: what was passed over, by name: `repeated_rows` (of an item that was there, with the
        same values), `conflicting_rows` (with others; the first row counts), and `unread:COLUMN`
        (values that are no number).
    """

    table: pa.Table
    columns: tuple[Column, ...]
    label: str
    faults: Mapping[str, int]

    @property
    def title(self) -> str | None:
        """Name of the column that is shown to people, if there is one."""
        return next((column.name for column in self.columns if column.kind == "title"), None)


def read_items(
    file: ItemFile,
    report: Callable[[str], None] = lambda line: None,
    columns: Sequence[Column] | None = None,
) -> Items:
    """Reads the file.

    Args:
      file: of `locate_items`.
      report: told what each column is taken for.
      columns: what they are, where that was decided before, on another file; others are ignored.

    Returns:
      What it says.

    Raises:
      InputError: it cannot be read, has no row, or a value is none of its column's kind.
    """
    raw = _raw(file)
    ids = _ids(file, raw, ITEM)
    if not len(ids):
        raise InputError(f"{file.label}: has no row; expected one an item.")
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{file.label}: {_place(file.source, row)}: empty {file.names[ITEM]}")
    keys = {ITEM: ids} | ({DOMAIN: _ids(file, raw, DOMAIN)} if DOMAIN in file.names else {})
    first, faults = _once(ids, raw)
    kinds = _decided(file, raw, columns)
    cells: dict[str, pa.Array] = {}
    for column in kinds:
        if column.kind == "ignore":
            continue
        try:
            with _read_by_arrow(file, column.name):
                values, unread = read_cells(column, raw[column.name])
        except BadCell as error:
            place = _place(file.source, error.row)
            raise InputError(f"{file.label}: {place}: {error}") from None
        except InputError as error:
            raise InputError(
                f"{file.label}: {error}. Say what it is with "
                f"--set data.items.columns.{column.name}=KIND, or ignore."
            ) from None
        cells[column.name] = values
        if unread:
            faults[f"unread:{column.name}"] = unread
    if columns is None:
        for column in kinds:
            report(f"Items: {_said(column, raw[column.name], cells.get(column.name))}")
    table = pa.table(keys | cells)
    return Items(table if first is None else table.take(first), kinds, file.label, faults)


def _raw(file: ItemFile) -> pa.Table:
    if file.source is None:
        assert file.made_up is not None
        return shared_taste.items(file.made_up)
    raw = read_table(file.source)
    for place, name in enumerate(raw.column_names):
        # What cannot be is told where the column is read; some are ignored.
        with contextlib.suppress(pa.ArrowException):
            raw = raw.set_column(place, name, plain(raw[name]))
    return raw


@contextlib.contextmanager
def _read_by_arrow(file: ItemFile, name: str) -> Iterator[None]:
    """Names file and column where Arrow or Python cannot read a type or a value."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, ValueError, OverflowError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{file.label}: column '{name}' cannot be read ({detail}). Leave it out with "
            f"--set data.items.columns.{name}=ignore."
        ) from None


def _decided(file: ItemFile, raw: pa.Table, columns: Sequence[Column] | None) -> tuple[Column, ...]:
    others = [name for name in raw.column_names if name not in file.names.values()]
    if columns is None:
        found = tuple(_seen(file, name, raw[name]) for name in others)
        titles = [column.name for column in found if column.kind == "title"]
        # One is shown; what else was seen to be one is text.
        shown = next((name for name in titles if name in file.kinds), (titles or [""])[0])
        return tuple(
            dataclasses.replace(column, kind="text")
            if column.kind == "title" and column.name != shown
            else column
            for column in found
        )
    for column in columns:
        if column.kind != "ignore" and column.name not in others:
            raise InputError(
                f"{file.label}: has no column '{column.name}' ({column.kind}), which the run was "
                f"trained with; it has {', '.join(raw.column_names)}"
            )
    return tuple(column for column in columns if column.name in others)


def _seen(file: ItemFile, name: str, values: pa.ChunkedArray) -> Column:
    said = file.kinds.get(name)
    if said == "ignore":
        return Column(name, said)
    with _read_by_arrow(file, name):
        return column_of(name, values, said)


def _ids(file: ItemFile, raw: pa.Table, role: str) -> pa.Array:
    """Names of items or domains, as the log's are read."""
    name = file.names[role]
    values = pa.chunked_array(raw[name]).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    kind = values.type
    try:
        if pa.types.is_floating(kind):
            values = values.cast(pa.int64())
        elif not (is_text(kind) or pa.types.is_binary(kind) or pa.types.is_integer(kind)):
            raise pa.ArrowInvalid("")
        return trimmed(values.cast(pa.string()))
    except pa.ArrowException:
        raise InputError(
            f"{file.label}: column '{name}' (for {role}) is of type {kind}; expected text or whole "
            "numbers."
        ) from None


def _once(ids: pa.Array, raw: pa.Table) -> tuple[pa.Array | None, dict[str, int]]:
    """Rows that are the first of their item, None for all; and how the others differ from them."""
    codes = ids.dictionary_encode().indices.to_numpy()
    _, first, of = np.unique(codes, return_index=True, return_inverse=True)
    if len(first) == len(codes):
        return None, {}
    firsts = first[of]
    later = np.flatnonzero(firsts != np.arange(len(codes)))
    same = np.ones(len(later), bool)
    one, other = raw.take(pa.array(later)), raw.take(pa.array(firsts[later]))
    for name in raw.column_names:
        if is_text(raw[name].type):
            equal = pc.equal(pc.fill_null(one[name], ""), pc.fill_null(other[name], ""))
            same &= equal.to_numpy()
        else:
            pairs = zip(one[name].to_pylist(), other[name].to_pylist(), strict=True)
            same &= np.array([left == right for left, right in pairs])
    repeated = int(same.sum())
    counts = {"repeated_rows": repeated, "conflicting_rows": len(later) - repeated}
    return pa.array(np.sort(first)), {name: count for name, count in counts.items() if count}


def _said(column: Column, raw: pa.ChunkedArray, cells: pa.Array | None) -> str:
    known = raw.drop_null()
    share = len(known) / max(len(raw), 1)
    text = f"{column.name} is {'ignored' if cells is None else column.kind}"
    if column.separator:
        text += f", parted by '{column.separator}'"
    if share < 1:
        text += f", {1 - share:.1%} missing"
    with contextlib.suppress(pa.ArrowException, ValueError, OverflowError):
        if not len(known):
            return text
        example = " ".join(str(known[0].as_py()).split())
        text += f", such as '{example[:_SHOWN]}{'…' * (len(example) > _SHOWN)}'"
    return text


def _place(source: Source | None, row: int) -> str:
    return f"row {row + 1}" if source is None else place_of(source, row)
