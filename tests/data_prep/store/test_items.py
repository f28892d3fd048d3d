"""A dataset that was prepared with a file of items: its name, what is stored, and its card."""

import json

import numpy as np
import pytest

from data_prep import InputError, prepare
from data_prep.read.datasets.shared_taste import generate
from data_prep.settings import SyntheticConfig

SMALL = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}
LOG = generate(SyntheticConfig(**SMALL)).to_pydict()
SOLD = sorted(set(zip(LOG["item_id"], LOG["domain"], strict=True)))


def write(path, rows):
    path.write_text("\n".join(["item_id,domain,title,brand", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A log without the last item of each domain, and a file that has all of them."""
    place = tmp_path_factory.mktemp("items")
    unsold = {item for item, _ in SOLD if item.endswith("_19")}
    rows = zip(*(LOG[name] for name in ("user_id", "item_id", "domain", "timestamp")), strict=True)
    lines = [",".join(map(str, row)) for row in rows if row[1] not in unsold]
    (place / "log.csv").write_text("user_id,item_id,domain,timestamp\n" + "\n".join(lines))
    listed = [f"{item},{name},The {item} of {n}, b{n % 4}" for n, (item, name) in enumerate(SOLD)]
    write(place / "items.csv", [*listed[1:], listed[-1]])
    return place


def prepared(place, items="items.csv", **more):
    given = {"items": {"path": str(place / items), **more}} if items else {}
    return prepare(
        "interactions", path=place / "log.csv", data_dir=place / "data", report=None, **given
    )


def test_what_the_file_says_is_stored_in_the_order_of_the_catalogue(place):
    without, found = prepared(place, None), prepared(place)
    assert without.item_columns is None
    table = found.item_columns.table.to_pydict()
    ids = found.catalogue.item_ids.tolist()
    assert table["item_id"] == ids
    missing = SOLD[0][0]  # The file lacks the first item.
    assert table["listed"] == [item != missing for item in ids]
    assert table["title"] == [
        None if i == missing else f"The {i} of {[s for s, _ in SOLD].index(i)}" for i in ids
    ]
    cold = found.catalogue.item_ids[found.catalogue.cold[1:]].tolist()
    assert cold == [item for item, _ in SOLD if item.endswith("_19")]
    assert np.all(found.catalogue.trained_sizes == without.catalogue.sizes)
    titles = found.item_columns.titles.to_pydict()
    assert titles["item_id"] == [item for item in ids if item != missing]


def test_the_card_counts_what_the_file_has_and_lacks(place):
    found = prepared(place)
    card = found.data_card["item_file"]
    assert card["rows"] == len(SOLD) - 1
    assert card["faults"]["repeated_rows"] == 1
    assert card["columns"] == {
        "title": {"kind": "title", "missing": 0.0},
        "brand": {"kind": "category", "missing": 0.0},
    }
    assert [facts["missing"] for facts in card["domains"].values()] == [1, 0, 0, 0]
    assert [facts["cold"] for facts in card["domains"].values()] == [1, 1, 1, 1]
    text = (found.builder.data_path / "data_card.md").read_text("utf-8")
    assert "## The items file" in text and "rows that repeat an earlier one" in text
    without = prepared(place, None).data_card
    assert "item_file" not in without
    assert card["cold_test_targets"] == 0  # The log has none of them.
    assert found.data_card["unknown_test_targets"] == without["unknown_test_targets"]
    assert found.data_card["items"] == without["items"]


def test_the_name_of_a_dataset_is_that_of_the_files_content_and_the_kinds(place):
    names = {prepared(place, None).name, prepared(place).name}
    assert len(names) == 2
    copy = place / "copy.csv"
    copy.write_bytes((place / "items.csv").read_bytes())
    assert prepared(place, "copy.csv").name == prepared(place).name
    assert prepared(place, columns={"brand": "ignore"}).name not in names
    copy.write_text(copy.read_text().replace("b1", "b9"))
    assert prepared(place, "copy.csv").name not in names
    # What only the model does with them is no other dataset.
    assert prepared(place, max_tokens=3).name in names


def test_a_file_of_another_log_leaves_nothing_behind(place):
    write(place / "other.csv", ["x,books,a,b"])
    prepared(place)
    folder = place / "data" / "interactions"
    before = sorted(folder.iterdir())
    with pytest.raises(InputError, match=r"other\.csv: none of the .* items of the log is in it"):
        prepared(place, "other.csv")
    assert sorted(folder.iterdir()) == before


def test_the_made_up_dataset_has_items_of_its_own(tmp_path):
    found = prepare("synthetic", data_dir=tmp_path, items={"path": "auto"}, report=None, **SMALL)
    assert json.loads(json.dumps(found.metadata["settings"]["items"])) == {
        "file": None,
        "columns": {},
        "rules": 1,
    }
    assert found.item_columns is not None
    assert {c.name: c.kind for c in found.item_columns.columns} == {
        "taste": "category",
        "maker": "category",
        "price": "number",
    }
