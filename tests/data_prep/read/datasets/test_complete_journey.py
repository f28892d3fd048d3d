"""The Complete Journey: which rows stay, what they become, and how a package is found."""

import collections
import hashlib
import importlib.util
import random
import re
import shutil
import sys
import tomllib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

import data_prep.builders  # noqa: F401 (registers them)
from data_prep import InputError, prepare
from data_prep.preparation import find_prepared
from data_prep.read.datasets import complete_journey
from data_prep.read.datasets.complete_journey import MIN_DEPARTMENT_ROWS, MODULE, REQUIREMENT, read
from data_prep.settings import DataConfig
from data_prep.store.sequence_builder import SequenceConfig
from tests.support.complete_journey import SECOND, products, transactions, write_package
from tests.support.documents import ROOT

DEPARTMENTS = (None, "", " ", "DELI", "FUEL", " FUEL", "MEAT")


def basket_rows(seed=0, rows=300):
    """Purchases of some products, of which one is not listed and one was never sold."""
    rng = random.Random(seed)
    times = rng.sample(range(1_483_000_000, 1_483_900_000), rows)
    return [(rng.randrange(9), rng.randrange(12), rng.randrange(4), t * SECOND) for t in times]


LISTED = {n: ("DELI", "FUEL", "MEAT")[n % 3] for n in range(11)} | {99: "DELI"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The data of a small package, which Python finds."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", 5)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return write_package(tmp_path / "site", transactions(basket_rows()), products(LISTED))


def name():
    return SequenceConfig(settings=DataConfig(dataset="complete_journey")).name


def digests(folder):
    """Digests of the data; TFDS's own JSON may hold dates and times."""
    names = [p for p in folder.rglob("*") if "tfrecord" in p.name or p.suffix == ".parquet"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


# -------------------------------------------------------------------------------------- which rows


def literal(bought, listed, smallest):
    """The rules, row by row: the rows that stay, and how many each rule leaves out."""
    left_out: collections.Counter[str] = collections.Counter()
    rows = []
    for household, product, quantity, nanoseconds in bought:
        department = (listed.get(product) or "").strip()
        if not department:
            left_out["their products have no department"] += 1
        elif quantity <= 0:
            left_out["their quantity is 0 or less"] += 1
        else:
            rows.append((str(household), str(product), department, nanoseconds / SECOND))
    sizes = collections.Counter(row[2] for row in rows)
    small = {department for department, size in sizes.items() if size < smallest}
    kept = [row for row in rows if row[2] not in small]
    if small:
        reason = (
            f"their {len(small)} departments have fewer than {smallest} each "
            f"({', '.join(sorted(small))})"
        )
        left_out[reason] = len(rows) - len(kept)
    return kept, left_out


@settings(deadline=None)
@given(
    bought=st.lists(
        st.tuples(
            st.integers(1, 3),
            st.integers(0, 7),
            st.integers(-1, 2),
            st.integers(0, 2_000_000_000).map(lambda second: second * SECOND),
        ),
        min_size=1,
        max_size=40,
    ),
    listed=st.dictionaries(st.integers(0, 7), st.sampled_from(DEPARTMENTS)),
    smallest=st.integers(1, 6),
)
def test_rows_are_those_of_a_literal_join(tmp_path_factory, bought, listed, smallest):
    data = write_package(
        tmp_path_factory.getbasetemp() / "literal", transactions(bought), products(listed)
    )
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", smallest)
        table = read(data / "transactions.parquet", data / "products.parquet", said.append)
    rows, left_out = literal(bought, listed, smallest)
    assert list(zip(*table.to_pydict().values(), strict=True)) == rows
    assert sorted(said) == sorted(
        f"Left out {count} of {len(bought)} rows: {reason}." for reason, count in left_out.items()
    )
    assert table.schema.names == ["user_id", "item_id", "domain", "timestamp"]
    assert table.schema.types == [pa.string(), pa.string(), pa.string(), pa.float64()]


def test_the_smallest_department_has_a_thousand_rows_that_count(tmp_path):
    """Rows of quantity 0 do not help a department over the threshold."""
    sizes = {"DELI": MIN_DEPARTMENT_ROWS, "FUEL": MIN_DEPARTMENT_ROWS - 1}
    departments = dict(enumerate(sizes))
    rows = [(1, n, 1, 0) for n, size in enumerate(sizes.values()) for _ in range(size)]
    data = write_package(tmp_path, transactions([*rows, (1, 1, 0, 0)]), products(departments))
    table = read(data / "transactions.parquet", data / "products.parquet", print)
    assert table["domain"].value_counts().to_pylist() == [
        {"values": "DELI", "counts": MIN_DEPARTMENT_ROWS}
    ]


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC")])
def test_seconds_are_kept_exactly(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", 1)
    seconds = [-1, 0, 1_483_271_606, 1_514_779_280, 2**33 + 1]
    bought = transactions([(1, 1, 1, second * SECOND) for second in seconds])
    column = bought.schema.get_field_index("transaction_timestamp")
    times = bought["transaction_timestamp"].cast(kind)
    bought = bought.set_column(column, "transaction_timestamp", times)
    data = write_package(tmp_path, bought, products({1: "DELI"}))
    found = read(data / "transactions.parquet", data / "products.parquet", print)
    assert found["timestamp"].to_pylist() == seconds


def test_neither_the_order_of_rows_nor_of_products_shows(tmp_path, package):
    prepare("complete_journey", data_dir=tmp_path / "one", report=None)
    rows = basket_rows()
    random.Random(1).shuffle(rows)
    write_package(tmp_path / "site", transactions(rows), products(dict(reversed(LISTED.items()))))
    prepare("complete_journey", data_dir=tmp_path / "two", report=None)
    one, two = digests(tmp_path / "one"), digests(tmp_path / "two")
    assert one == two and len(one) == 4


# ------------------------------------------------------------------------------- what goes wrong


def test_a_package_that_is_not_there_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(InputError) as caught:
        prepare("complete_journey", data_dir=tmp_path / "data", report=None)
    message = str(caught.value)
    assert message.startswith("--dataset complete_journey: ") and "\n" not in message
    assert f"pip install {REQUIREMENT}" in message and "tf_syncrec[complete-journey]" in message
    assert not (tmp_path / "data").exists()


def test_what_to_install_is_said_alike_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["complete-journey"] == [REQUIREMENT]
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    assert REQUIREMENT.replace("-", "_") in pinned
    assert REQUIREMENT in (ROOT / "docs/data.md").read_text()


@pytest.mark.parametrize("file", ["transactions.parquet", "products.parquet"])
@pytest.mark.parametrize("damage", ["missing", "cut off", "no Parquet"])
def test_a_file_that_cannot_be_read(tmp_path, package, file, damage):
    path = package / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] if damage == "cut off" else b"none of it")
    message = refused(tmp_path)
    assert message.startswith(f"{path}: cannot be read (") and REQUIREMENT in message


def test_a_file_with_damage_inside(tmp_path, package):
    """Its columns can be looked at, its rows not be read."""
    path = package / "transactions.parquet"
    whole = bytearray(path.read_bytes())
    whole[4:600] = bytes(596)
    path.write_bytes(whole)
    name()
    assert refused(tmp_path).startswith(f"{path}: cannot be read (")


COLUMNS = [
    *(("transactions.parquet", column) for column in ("household_id", "product_id", "quantity")),
    ("transactions.parquet", "transaction_timestamp"),
    ("products.parquet", "product_id"),
    ("products.parquet", "department"),
]


@pytest.mark.parametrize(("file", "column"), COLUMNS)
def test_a_column_that_is_not_there_or_of_another_type(tmp_path, package, file, column):
    path = package / file
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(column), path)
    assert refused(tmp_path).startswith(f"{path}: has no column '{column}'; it has ")
    odd = pa.array([0.5] * table.num_rows)
    pq.write_table(table.drop_columns(column).append_column(column, odd), path)
    assert refused(tmp_path).startswith(f"{path}: column '{column}' is of type double; expected")


@pytest.mark.parametrize(("file", "column"), COLUMNS[:-1])
def test_a_value_that_is_missing(tmp_path, package, file, column):
    table = pq.read_table(package / file)
    holes = pa.array([None, *table[column].to_pylist()[1:]], table[column].type)
    pq.write_table(table.drop_columns(column).append_column(column, holes), package / file)
    assert refused(tmp_path) == f"{package / file}: column '{column}' is empty in 1 rows."


def test_a_time_with_a_fraction_of_a_second(tmp_path, package):
    rows = transactions([*basket_rows(), (1, 1, 1, SECOND // 2)])
    pq.write_table(rows, package / "transactions.parquet")
    path = package / "transactions.parquet"
    message = f"{path}: column 'transaction_timestamp' has times with a fraction of a second"
    assert refused(tmp_path).startswith(message)


def test_a_product_of_two_departments(tmp_path, package):
    twice = pa.concat_tables([products(LISTED), products({7: "MEAT"})])
    pq.write_table(twice, package / "products.parquet")
    path = package / "products.parquet"
    assert refused(tmp_path).startswith(f"{path}: column 'product_id' has 7 more than once")


def refused(tmp_path):
    """The one line with which a preparation ends, leaving nothing."""
    with pytest.raises(InputError) as caught:
        prepare("complete_journey", data_dir=tmp_path / "data", report=None)
    assert not (tmp_path / "data").exists() and "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------ names and packages


def test_the_package_is_found_and_not_imported(tmp_path, package):
    prepared = prepare("complete_journey", data_dir=tmp_path / "data", report=None)
    assert MODULE not in sys.modules  # importing it raises an error
    assert prepared.metadata["domains"] == ["DELI", "FUEL", "MEAT"]
    assert prepared.metadata["settings"]["min_department_rows"] == 5


def test_the_name_follows_the_content_and_not_the_place(tmp_path, package, monkeypatch):
    first = name()
    shutil.copytree(tmp_path / "site", tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert name() == first
    names = {first}
    elsewhere = tmp_path / "elsewhere"
    write_package(elsewhere, transactions(basket_rows(seed=1)), products(LISTED))
    names.add(name())
    write_package(elsewhere, transactions(basket_rows()), products(LISTED | {3: "MEAT"}))
    names.add(name())
    write_package(elsewhere, transactions(basket_rows()), products(LISTED))
    assert name() == first
    monkeypatch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", 6)
    names.add(name())
    assert len(names) == 4


def test_what_was_prepared_is_found_without_the_package(tmp_path, package, monkeypatch):
    prepared = prepare("complete_journey", data_dir=tmp_path / "data", report=None)
    monkeypatch.setitem(sys.modules, MODULE, None)
    config = DataConfig(dataset="complete_journey", data_dir=str(tmp_path / "data"))
    found = find_prepared(config, prepared.name)
    assert found is not None and found.metadata == prepared.metadata
    assert found.catalogue.item_ids.tolist() == prepared.catalogue.item_ids.tolist()


def test_tfds_knows_it_by_its_name(tmp_path, package):
    dataset, info = tfds.load("complete_journey", data_dir=tmp_path / "data", with_info=True)
    assert info.full_name.split("/")[:2] == ["complete_journey", name()]
    assert set(dataset) == {"train", "validation", "test"}


# ---------------------------------------------------------------------------------- the real thing


@pytest.mark.skipif(
    importlib.util.find_spec(MODULE) is None, reason=f"{REQUIREMENT} is not installed"
)
def test_the_release():
    said: list[str] = []
    bought, listed = complete_journey.local_sources()
    table = read(bought.path, listed.path, said.append)
    numbers = [re.findall(r"Left out ([\d,]+) of ([\d,]+) rows", line)[0] for line in said]
    assert numbers == [(left_out, "1,469,307") for left_out in ("4,836", "4,065", "2,508")]
    assert "their 14 departments have fewer than 1,000 each (AUTOMOTIVE, CHEF SHOPPE" in said[2]
    sizes = [len(table[column].unique()) for column in ("user_id", "item_id", "domain")]
    assert (table.num_rows, sizes) == (1_457_898, [2469, 68_004, 16])
    largest = max(table["domain"].value_counts().to_pylist(), key=lambda found: found["counts"])
    assert largest == {"values": "GROCERY", "counts": 927_326}
