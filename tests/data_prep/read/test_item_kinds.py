"""What a column of items is, seen from its values; and how these are read."""

import numpy as np
import pyarrow as pa
import pytest

from data_prep import InputError
from data_prep.read.items.cells import BadCell, read_cells
from data_prep.read.items.kinds import Column, column_of

RNG = np.random.default_rng(0)
N = 60
WORDS = ("red", "green", "blue", "old", "new", "soft", "hard", "warm", "cold", "quick")
COLOURS = [" | ".join(RNG.choice(WORDS[:5], 2, replace=False)) for _ in range(N)]
SENTENCES = [f"{' '.join(RNG.choice(WORDS, 4))}, number {i}" for i in range(N)]
TREE = [f"Home > Room {i % 3} > Shelf {i % 9}" for i in range(N)]


@pytest.mark.parametrize(
    ("kind", "name", "values"),
    [
        ("ignore", "empty", [None] * N),
        ("vector", "v", [[0.5, float(i)] for i in range(N)]),
        ("vector", "v", [f"[0.5, {i}, -1e-3]" for i in range(N)]),
        ("tokens", "tags", [[str(i % 7), str(i % 5)] for i in range(N)]),
        ("path", "tree", [["Home", f"Room {i % 3}", f"Shelf {i % 9}"] for i in range(N)]),
        ("category", "new", [i % 2 == 0 for i in range(N)]),
        ("number", "price", [i / 7 for i in range(N)]),
        ("number", "price", [f"{i}.50" for i in range(N)]),
        ("number", "pages", [str(17 * i) for i in range(N)]),
        ("category", "size", [str(i % 5) for i in range(N)]),
        ("category", "shop_id", [str(17 * i) for i in range(N)]),
        ("number", "shop_weight", [17 * i for i in range(N)]),
        ("title", "Product Name", SENTENCES),
        ("text", "about", SENTENCES),
        ("path", "where", TREE),
        ("path", "where", [f"home/room {i % 3}/shelf {i % 9}" for i in range(N)]),
        ("tokens", "colours", COLOURS),
        ("tokens", "colours", [text.replace(" | ", ",") for text in COLOURS]),
        ("category", "brand", [f"Brand No {i % 9}, Inc" for i in range(N)]),
        ("category", "author", [f"Author{i % 50}" for i in range(N)]),
        ("ignore", "code", [f"X-{i}" for i in range(N)]),
        ("ignore", "link", [f"https://shop/item/{i}" for i in range(N)]),
        ("ignore", "facts", [{"a": i} for i in range(N)]),
    ],
)
def test_what_a_column_is(kind, name, values):
    """Missing values say nothing, wherever they are."""
    with_gaps = [value for pair in zip(values, [None] * N, strict=True) for value in pair]
    assert column_of(name, pa.chunked_array([pa.array(values)])).kind == kind
    assert column_of(name, pa.chunked_array([pa.array(with_gaps)])).kind == kind


def read(kind, values, **more):
    column = column_of("c", pa.chunked_array([pa.array(values, **more)]), kind)
    cells, unread = read_cells(column, pa.chunked_array([pa.array(values, **more)]))
    return cells.to_pylist(), unread


def test_values_of_each_kind():
    assert read("tokens", ["a; b ;", None, " c", ";"]) == ([["a", "b"], None, ["c"], None], 0)
    assert read("tokens", ["['x', 'y']", '["x"]']) == ([["x", "y"], ["x"]], 0)
    assert read("tokens", [[" a", "", None], None]) == ([["a"], None], 0)
    assert read("path", ["A > B>C", "A"]) == ([["A", "B", "C"], ["A"]], 0)
    assert read("number", ["1.5", "-2e3", "n/a", None]) == ([1.5, -2000.0, None, None], 1)
    assert read("number", [1, float("nan"), float("inf")]) == ([1.0, None, None], 2)
    assert read("category", [7, None]) == (["7", None], 0)
    assert read("text", [" ünï ", " "]) == (["ünï", None], 0)
    assert read("vector", ["[1, 2]", "3;4", None]) == ([[1, 2], [3, 4], None], 0)
    assert read("vector", [[1.0, 2.0], None], type=pa.list_(pa.float64())) == ([[1, 2], None], 0)


@pytest.mark.parametrize(
    ("values", "row", "text"),
    [
        (
            [[1.0, 2.0], [1.0, 2.0], [1.0]],
            2,
            "of 2 numbers, as the others are, received 1",
        ),
        (["1 2", "1 x"], 1, "expected a vector, .* received '1 x'"),
        ([[1.0], [float("nan")]], 1, "a value that is no number"),
    ],
)
def test_a_bad_vector_is_named(values, row, text):
    with pytest.raises(BadCell, match=text) as error:
        read("vector", values)
    assert error.value.row == row


@pytest.mark.parametrize(
    ("kind", "values", "text"),
    [
        ("number", ["a", "b"], "none of its values is a number"),
        ("number", [["a"]], "is of type list<.*>, which is no number"),
        ("category", [["a"]], "which is no category"),
        ("tokens", [[1.0]], "which is no tokens"),
        ("vector", [1.0], "is of type double, which is no vector"),
    ],
)
def test_a_kind_that_values_are_not(kind, values, text):
    array = pa.chunked_array([pa.array(values)])
    with pytest.raises(InputError, match=f"column 'c'.*{text}"):
        read_cells(Column("c", kind), array)
