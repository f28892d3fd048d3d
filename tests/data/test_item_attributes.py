"""Attributes of items: what they are, against a slow literal reading, and in another file."""

import collections
import hashlib
import itertools
import math
import types
import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from data_prep.catalogue import Catalogue
from data_prep.read.items.item_table import Items
from data_prep.read.items.kinds import Column
from data_prep.settings import ItemsConfig
from data_prep.store.item_columns import item_columns
from tf_syncrec.data.column_tokens import MISSING, edges_of
from tf_syncrec.data.item_attributes import load, of_catalogue
from tf_syncrec.data.item_encoder import ItemEncoder
from tf_syncrec.data.text_tokens import words_and_pairs

N = 80
RNG = np.random.default_rng(1)
LETTERS = list("ABcdéß日")
TEXTS = [" ".join(RNG.choice(LETTERS, RNG.integers(0, 6))) or None for _ in range(N)]
COLUMNS = (
    Column("title", "title"),
    Column("brand", "category"),
    Column("tags", "tokens"),
    Column("tree", "path"),
    Column("price", "number"),
    Column("image", "vector"),
    Column("sound", "vector"),
)


def some(values):
    return [None if RNG.random() < 0.2 else value for value in values]


def vectors(length):
    return some([RNG.normal(size=length).tolist() for _ in range(N)])


LISTED = RNG.random(N) < 0.9
VALUES = {
    "title": TEXTS,
    "brand": some([f"b{RNG.geometric(0.2)}" for _ in range(N)]),
    "tags": some([[f"t{t}" for t in RNG.integers(0, 9, RNG.integers(1, 4))] for _ in range(N)]),
    "tree": some([["r", f"s{i % 3}", f"l{i % 40}"] for i in range(N)]),
    "price": some(RNG.lognormal(size=N).tolist()),
    "image": vectors(3),
    "sound": vectors(2),
}
TYPES = {
    "tags": pa.large_list(pa.large_string()),
    "tree": pa.large_list(pa.large_string()),
    "price": pa.float64(),
    "image": pa.large_list(pa.float32()),
    "sound": pa.large_list(pa.float32()),
}


def table_of(values, listed):
    """As it is stored: of an item that is not in the file nothing is known."""
    columns = {
        name: pa.array(
            [value if there else None for value, there in zip(column, listed, strict=True)],
            TYPES.get(name, pa.large_string()),
        )
        for name, column in values.items()
    }
    return pa.table({"listed": pa.array(listed)} | columns)


TABLE = table_of(VALUES, LISTED)
TRAINED = RNG.random(N) < 0.6


def fit(most=1000, width=100):
    return ItemEncoder.fit(TABLE, COLUMNS, TRAINED, most, width)


def words_of(text):
    """Runs of letters, marks, digits and underscores, without regular expressions."""
    text = unicodedata.normalize("NFKC", text)
    kept = [c if unicodedata.category(c)[0] in "LMN" or c == "_" else " " for c in text]
    return [word.casefold() for word in "".join(kept).split()]


def literal_tokens(name, kind, value, edges):
    if kind == "number":
        return {MISSING if value is None else str(sum(value >= edge for edge in edges))}
    if value is None:
        return set()
    if kind == "category":
        return {value}
    if kind == "tokens":
        return set(value)
    if kind == "path":
        return {" > ".join(value[:depth]) for depth in range(1, len(value) + 1)}
    words = words_of(value)
    return {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}


def literal_rows():
    """The weights of each item by `(column, token)`, as docs/items.md says them."""
    edges = edges_of(TABLE["price"].combine_chunks(), TRAINED)
    rows: list[dict] = [{} for _ in range(N)]
    for name, kind in ((c.name, c.kind) for c in COLUMNS if c.kind != "vector"):
        cells = [
            literal_tokens(name, kind, value, edges) if there else set()
            for value, there in zip(VALUES[name], LISTED, strict=True)
        ]
        items = collections.Counter(token for cell in cells for token in cell)
        having = sum(bool({t for t in cell if items[t] >= 2}) for cell in cells)
        for row, cell in zip(rows, cells, strict=True):
            weights = {
                token: 1.0 if kind in ("category", "number") else math.log1p(having / items[token])
                for token in cell
                if items[token] >= 2
            }
            norm = math.sqrt(sum(w * w for w in weights.values()))
            row |= {(name, token): w / norm for token, w in weights.items()}
    for row in rows:
        columns = len({name for name, _ in row})
        for key in row:
            row[key] /= math.sqrt(columns)
    return rows


def test_weights_are_those_of_a_literal_reading():
    encoder, found = fit()
    bins: dict[str, str] = {}
    for row, expected in enumerate(literal_rows()):
        filled = found.tokens[row] > 0
        names = [encoder.names[token] for token in found.tokens[row][filled]]
        weights = dict(zip(names, found.weights[row][filled], strict=True))
        for (column, token), weight in expected.items():
            if column == "price":
                name = next(name for name in names if name.startswith("price="))
                assert bins.setdefault(token, name) == name
            else:
                name = f"{column}={token}"
            assert weights.pop(name) == pytest.approx(weight, rel=1e-5)
        assert not weights
    assert len(set(bins.values())) == len(bins) == 11


def test_a_row_has_norm_one_and_of_many_attributes_the_heaviest_are_kept():
    (encoder, whole), (_, cut) = fit(), fit(width=4)
    empty = np.array([not row for row in literal_rows()])
    for found in (whole, cut):
        norms = np.linalg.norm(found.weights, axis=1)
        np.testing.assert_allclose(norms, ~empty, rtol=1e-6)
        assert np.all((found.tokens > 0) == (found.weights > 0))
    assert cut.tokens.shape == (N, 4)
    np.testing.assert_array_equal(cut.tokens, whole.tokens[:, :4])
    assert np.all(np.diff(whole.weights, axis=1) <= 0)
    assert empty.sum() == (~LISTED).sum() > 0
    del encoder


def test_vectors_stand_side_by_side_each_of_norm_one():
    _, found = fit()
    assert found.dense is not None and found.dense.shape == (N, 5)
    for row in range(N):
        for name, part in (("image", found.dense[row, :3]), ("sound", found.dense[row, 3:])):
            value = VALUES[name][row] if LISTED[row] else None
            expected = 0 * part if value is None else value / np.linalg.norm(value)
            np.testing.assert_allclose(part, expected, atol=1e-6)


def test_the_same_attributes_are_found_in_another_file(tmp_path):
    """Saved, loaded, and asked of the items in another order, with values that nobody had."""
    encoder, found = fit(most=20)
    encoder.save(tmp_path / "encoder.npz")
    again = ItemEncoder.load(tmp_path / "encoder.npz")
    assert again.names == encoder.names and again.columns == encoder.columns
    order = RNG.permutation(N)
    rows = again.encode(TABLE.take(pa.array(order)))
    for name in ("tokens", "weights", "dense"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(found, name)[order])
    new: dict[str, list] = {name: [None, None] for name in VALUES}
    new |= {"brand": ["never seen", "b1"], "title": ["Z z z", "日 unheard"], "price": [1e9, None]}
    rows = again.encode(table_of(new, [True, True]))
    names = [{again.names[t] for t in row if t} for row in rows.tokens]
    assert len(names[0]) == 1 and next(iter(names[0])).startswith("price=")
    assert names[1] == {"brand=b1", "title=日", f"price={MISSING}"}
    assert np.all(rows.dense == 0)


def test_the_most_frequent_words_and_pairs_count():
    (_, every), (encoder, _) = fit(), fit(most=5)
    counts: collections.Counter[str] = collections.Counter()
    for text, there in zip(TEXTS, LISTED, strict=True):
        if text and there:
            words = words_of(text)
            counts.update(words)
            counts.update(f"{a} {b}" for a, b in itertools.pairwise(words))
    titles = [n.removeprefix("title=") for n in encoder.names if n.startswith("title=")]
    assert len(titles) == 5
    assert min(counts[t] for t in titles) >= sorted(counts.values())[-5]
    del every


@pytest.mark.parametrize(
    ("one", "other"),
    [("STRASSE", "straße"), ("Cafe\u0301", "CAFÉ"), ("Ｗｉｄｅ", "wide"), ("हिन्दी", "हिन्दी")],
)
def test_words_of_any_script_are_the_same_however_they_are_typed(one, other):
    found = words_and_pairs(pa.array([one, f"-{other}!", "x"]))
    assert found.rows.tolist() == [0, 1, 2]
    assert found.keys[0] == found.keys[1] != found.keys[2]


def test_a_pair_is_not_its_reverse_nor_across_items():
    found = words_and_pairs(pa.array(["a b", "b a", None, "a", "b"]))
    pairs = found.keys[found.codes[:, 1] >= 0]
    assert len(pairs) == len(set(pairs.tolist())) == 2
    assert found.names(np.flatnonzero(found.codes[:, 1] >= 0)) == ["a b", "b a"]


def test_keys_are_the_same_in_every_process_and_release():
    """An encoder that was saved finds nothing if they change: `_VERSION` has to as well."""

    def of_word(word):
        return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")

    def stirred(key):
        key = (key + 0x9E3779B97F4A7C15) % 2**64
        key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        key = (key ^ key >> 27) * 0x94D049BB133111EB % 2**64
        return key ^ key >> 31

    big, red = of_word("big"), of_word("red")
    expected = [big, red, (stirred(big) + red) % 2**64]
    assert words_and_pairs(pa.array(["Big red"])).keys.tolist() == expected


def test_bins_have_equal_numbers_of_trained_items():
    values = pa.array([None, *np.arange(100.0), *np.full(50, 1e6)])
    trained = np.append(False, np.arange(150) < 100)
    edges = edges_of(values, trained)
    counts = np.bincount(np.searchsorted(edges, np.arange(100.0), side="right"))
    assert counts.tolist() == [10] * 10
    assert edges_of(pa.array([3.0, 3.0, None]), np.ones(3, bool)).size == 0
    assert edges_of(pa.array([None, None], pa.float64()), np.ones(2, bool)).size == 0


def prepared_of(said):
    ids = np.array(["a", "b", "c"], object)
    catalogue = Catalogue(("d",), ids, np.zeros(3, np.int32), np.array([2, 1, 0]))
    data = types.SimpleNamespace(items=ItemsConfig())
    return types.SimpleNamespace(catalogue=catalogue, item_columns=said, settings=data)


def test_the_matrix_has_a_row_an_item_and_none_of_padding():
    table = pa.table({"item_id": ["c", "a", "z"], "brand": pa.array(["x", "x", "y"])})
    items = Items(table, (Column("brand", "category"),), "items.csv", {})
    found = load(prepared_of(item_columns(items, ["a", "b", "c"])))
    assert found is not None and found.names == ("", "brand=x") and found.size == 1
    assert found.matrix().toarray().tolist() == [[0, 0], [0, 1], [0, 0], [0, 1]]
    assert found.column_of.tolist() == [-1, 0] and found.dense is None
    assert load(prepared_of(None)) is None


def test_nothing_known_is_no_attribute():
    table = pa.table({"item_id": ["a", "b", "c"]})
    found = load(prepared_of(item_columns(Items(table, (), "items.csv", {}), ["a", "b", "c"])))
    assert found is not None and found.matrix().shape == (4, 1) and found.tokens.shape == (4, 1)
    encoder, rows = fit()
    assert of_catalogue(encoder, rows).matrix().shape == (N + 1, len(encoder.names))
