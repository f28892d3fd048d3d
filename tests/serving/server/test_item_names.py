"""Items are found by words of their titles and ids, whatever kind of file they come from."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from serving.local_server import _item_names
from serving.server.demo.item_names import FOUND, Item, read_item_names

ROWS = {
    "item_id": ["a1", "b2", "c3", "b2"],
    "title": ["The Red Shoe", None, "red (WINE), 12 % vol.", "another"],
    "domain": ["shoes", "books", "wine", "books"],
}


@pytest.fixture(params=["parquet", "csv"])
def names(request, tmp_path):
    file = tmp_path / f"items.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.table(ROWS | {"count": [1, 2, 3, 4]}), file)
    else:
        lines = [
            ",".join(f'"{value or ""}"' for value in row)
            for row in zip(*ROWS.values(), strict=True)
        ]
        file.write_text("\n".join(["item_id,title,domain", *lines]))
    return read_item_names(file)


def test_words_are_found_in_any_order_and_case(names):
    assert [item.id for item in names.search("red")] == ["a1", "c3"]
    assert [item.id for item in names.search(" SHOE  red ")] == ["a1"]
    assert names.search("b2") == [Item("b2", "", "books")]  # the first of two
    assert [item.id for item in names.search("(wine), %")] == ["c3"]  # no pattern
    assert names.search("nothing") == names.search("") == names.search("another") == []


def test_known_items_are_named_in_the_order_asked_for(names):
    assert [item.title for item in names.of(["c3", "unknown", "a1"])] == [
        "red (WINE), 12 % vol.",
        "The Red Shoe",
    ]


def test_ids_are_text_and_every_separator_is_known(tmp_path):
    for mark in ",\t;":
        file = tmp_path / "items.csv"
        lines = ["item_id|title|domain", "0012|1|true", " 7 |Red|x", "|nothing|x"]
        file.write_text("\n".join(lines).replace("|", mark))
        names = read_item_names(file)
        assert names.of(["0012", "12", "7"]) == [Item("0012", "1", "true"), Item("7", "Red", "x")]
        assert names.search("nothing") == []


def test_a_run_gives_titles_and_domains(tmp_path):
    export = tmp_path / "export" / "syncrec"
    export.mkdir(parents=True)

    def names_of(file):
        found = _item_names(file, export)
        assert found is not None
        return found

    assert _item_names(None, export) is None
    items = {"item_id": ["a", "b"], "domain": ["x", "y"], "count": [1, 2]}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    assert names_of(None).of("ab") == [Item("a", "", "x"), Item("b", "", "y")]
    titles = {"item_id": ["b", "elsewhere"], "title": ["Red", "Blue"]}
    pq.write_table(pa.table(titles), tmp_path / "titles.parquet")
    assert names_of(None).search("red") == [Item("b", "Red", "y")]
    assert names_of(None).search("a") == [Item("a", "", "x")]
    other = tmp_path / "other.csv"
    other.write_text("item_id\nz\n")
    assert names_of(other).of("az") == [Item("z", "", "")]


def test_no_more_than_a_page_is_found(tmp_path):
    file = tmp_path / "items.csv"
    file.write_text("\n".join(["item_id", *(f"i{n}" for n in range(3 * FOUND))]))
    names = read_item_names(file)
    assert [item.id for item in names.search("i")] == [f"i{n}" for n in range(FOUND)]
    assert names.of(["i1"]) == [Item("i1", "", "")]


@pytest.mark.parametrize("text", ["", "name,title\n1,2\n", None])
def test_another_file_is_refused_by_name(tmp_path, text):
    file = tmp_path / "items.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=r"--items .*items\.csv"):
        read_item_names(file)
