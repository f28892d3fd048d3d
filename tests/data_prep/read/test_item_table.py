"""A file of items is read whatever its form, and what is wrong in it is one clear line."""

import gzip
import itertools

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from data_prep.read.datasets.shared_taste import generate, items
from data_prep.read.items.item_file import locate_items
from data_prep.read.items.item_table import read_items
from data_prep.settings import SyntheticConfig, data_config

ROWS = [("i1", "a", "A, B > C", "0.5"), ("i2", "b", "A, B > D", ""), ("i3", "a", "A, B > C", "2")]
NAMES = ("item_id", "brand", "tree", "price")


def write(path, form):
    if form == "parquet":
        columns = zip(*ROWS, strict=True)
        table = pa.table(dict(zip(NAMES, map(list, columns), strict=True)))
        pq.write_table(table, path)
        return path
    mark = {"csv": ",", "tsv": "\t", "csv.gz": ",", "semicolon.csv": ";"}[form]
    quoted = [[f'"{value}"' if mark in value else value for value in row] for row in [NAMES, *ROWS]]
    text = "\n".join(mark.join(row) for row in quoted) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if form == "csv.gz" else text.encode())
    return path


def read(path, kinds=None, log=None, **more):
    settings = {"path": str(path)} | ({"columns": kinds} if kinds else {})
    config = data_config("interactions", path=log or "log.csv", items=settings, **more)
    found = locate_items(config)
    assert found is not None
    return read_items(found)


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "semicolon.csv", "parquet"])
def test_every_form_says_the_same(tmp_path, form):
    kinds = {"brand": "category", "tree": "path", "price": "number"}
    found = read(write(tmp_path / f"items.{form}", form), kinds)
    assert found.table.to_pydict() == {
        "item_id": ["i1", "i2", "i3"],
        "brand": ["a", "b", "a"],
        "tree": [["A, B", "C"], ["A, B", "D"], ["A, B", "C"]],
        "price": [0.5, None, 2.0],
    }
    assert not found.faults


TEXTS = ["red shoe", "blue shoe", None, "red shoe"]
SECONDS = [3600, 60, None, 3600]


def packed(path, values):
    pq.write_table(pa.table({"item_id": ["a", "b", "c", "a"], "x": values}), path)
    return path


@pytest.mark.parametrize("kind", [None, "category", "title", "tokens"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array(TEXTS).dictionary_encode(),
        pa.array(TEXTS, pa.large_string()).dictionary_encode(),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS, pa.large_string()),
    ],
    ids=lambda values: str(values.type),
)
def test_text_is_text_however_arrow_stores_it(tmp_path, values, kind):
    kinds = {"x": kind} if kind else None
    expected = read(packed(tmp_path / "plain.parquet", pa.array(TEXTS)), kinds)
    found = read(packed(tmp_path / "items.parquet", values), kinds)
    assert found.columns == expected.columns and found.faults == expected.faults
    assert found.table.to_pydict() == expected.table.to_pydict()


def test_lists_of_codes_are_lists_of_texts(tmp_path):
    lists = [["a", "b"], ["b"], None, ["a", "b"]]
    for inner in (pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        found = read(packed(tmp_path / "items.parquet", pa.array(lists, pa.list_(inner))))
        assert found.table["x"].to_pylist() == lists[:3]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", ["duration", "time", "timestamp"])
def test_times_are_numbers_of_one_unit(tmp_path, kind, unit):
    factor = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    few = 1 if unit == "ns" else 0  # Nanoseconds are cut off.
    values = [None if second is None else second * factor + few for second in SECONDS]
    bits = {"s": pa.time32, "ms": pa.time32, "us": pa.time64, "ns": pa.time64}[unit]
    of = bits(unit) if kind == "time" else getattr(pa, kind)(unit)
    found = read(packed(tmp_path / "items.parquet", pa.array(values, of)))
    assert [column.kind for column in found.columns] == ["number"]
    assert found.table["x"].to_pylist() == [3600e6, 60e6, None]


def test_whole_numbers_beyond_doubles_are_the_nearest(tmp_path):
    large = pa.array([2**60 + 1, 1, None, 2**60 + 1])
    found = read(packed(tmp_path / "items.parquet", large), {"x": "number"})
    assert found.table["x"].to_pylist() == [2.0**60, 1.0, None]


def test_a_value_that_python_has_not_is_named_unless_it_is_ignored(tmp_path):
    days = pa.array([10**7, 1, None, 10**7], pa.date32())  # The year 29349.
    file = tmp_path / "items.parquet"
    pq.write_table(pa.table({"item_id": ["a", "b", "c", "d"], "x": days}), file)
    with pytest.raises(InputError, match=r"--items .*items\.parquet: column 'x'.*x=ignore"):
        read(file)
    assert read(file, {"x": "ignore"}).table.column_names == ["item_id"]


def test_of_two_rows_of_an_item_the_first_counts(tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("item_id,brand\n a,x\nb,y\na,x\nb,z\na ,\n")
    found = read(file, {"brand": "category"})
    assert found.table.to_pydict() == {"item_id": ["a", "b"], "brand": ["x", "y"]}
    assert found.faults == {"repeated_rows": 1, "conflicting_rows": 2}


def test_one_title_is_shown_and_the_others_are_text(tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("item_id,name,title\na,one,Book One\nb,two,Book Two\n")
    assert read(file).title == "name"
    assert {c.name: c.kind for c in read(file).columns} == {"name": "title", "title": "text"}
    assert read(file, {"title": "title"}).title == "title"


def test_names_of_columns_as_the_log_has_them(tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("asin,shop,brand\na,books,x\n")
    found = read(file, columns={"item_id": "asin", "domain": "shop"})
    assert found.table.column_names[:2] == ["item_id", "domain"]


@pytest.mark.parametrize(
    ("content", "kinds", "text"),
    [
        (b"id,brand\na,b\n", {}, "has no column 'item_id', received 'id', 'brand'"),
        (b"item_id,brand\na,b\n", {"brnd": "text"}, "columns.brnd=text: .* has no such column"),
        (b"item_id,brand\na,b\n", {"item_id": "text"}, "says which item a row is of"),
        (b"item_id,b,b\na,b,c\n", {}, "has 2 columns named 'b'"),
        (b"item_id,brand\n", {}, "has no row"),
        (b"item_id,brand\na,b\n,c\n", {}, "line 3: empty item_id"),
        (b"item_id,brand\na,b\n\nc\n", {}, "line 4: 1 fields where 2 are expected in 'c'"),
        (b"item_id,brand\na,\xff\n", {}, r"line 2: brand that is not UTF-8 in 'a,\\xff'"),
        (b"item_id,v\na,1 2\n\nb,1 2 3\nc,1 2\n", {"v": "vector"}, "line 4: column 'v': .* 2 num"),
        (b"item_id,v\na,x\n", {"v": "number"}, "none of its values is a number. Say what it is"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, content, kinds, text):
    file = tmp_path / "items.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=text) as error:
        read(file, kinds)
    assert "items" in str(error.value) and "\n" not in str(error.value)


def test_no_file_and_settings_that_do_not_fit():
    with pytest.raises(InputError, match=r"--items /nowhere/x\.csv: no such file"):
        read("/nowhere/x.csv")
    with pytest.raises(InputError, match="--dataset interactions knows nothing of its items"):
        data_config("interactions", path="log.csv", items={"path": "auto"})
    with pytest.raises(InputError, match="belongs to --items FILE"):
        data_config("interactions", path="log.csv", items={"columns": {"a": "text"}})


def test_the_made_up_items_are_those_of_the_log():
    """Of a user's items in the domains that share taste, most in a row are of one taste."""
    settings = SyntheticConfig(users=50, items_per_domain=40, seed=3)
    log, known = generate(settings).to_pydict(), items(settings).to_pydict()
    taste = dict(zip(known["item_id"], known["taste"], strict=True))
    domain = dict(zip(known["item_id"], known["domain"], strict=True))
    assert {i: domain[i] for i in log["item_id"]} == dict(
        zip(log["item_id"], log["domain"], strict=True)
    )
    shared = [
        taste[item]
        for item, name in zip(log["item_id"], log["domain"], strict=True)
        if name != "contrary"
    ]
    same = sum(one == other for one, other in itertools.pairwise(shared))
    assert same / len(shared) > 0.6  # Four tastes: a quarter by chance.
