"""The file of negatives: what is drawn comes back, is kept, and is refused for other data."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from tests.support.candidates import excluded
from tf_syncrec.evaluation.sampled import NEGATIVES, SAMPLED
from tf_syncrec.evaluation.sampled import negatives_file as stored_module
from tf_syncrec.evaluation.sampled.negatives import draw_negatives
from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives

SIZES = (150, 3, 0, 200)


@pytest.fixture
def prepared(make_prepared):
    return make_prepared(SIZES, users=60)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "negatives.parquet"


def split_rows(prepared, split):
    return next(iter(prepared.as_dataset(split).ragged_batch(10_000)))


@pytest.mark.parametrize("users_at_once", [25, 8192])
@pytest.mark.parametrize("protocol", SAMPLED)
def test_what_was_drawn_comes_back(prepared, file, monkeypatch, protocol, users_at_once):
    rows = split_rows(prepared, "test")
    drawn = draw_negatives(protocol, f"{prepared.name} test", rows, prepared.catalogue)
    monkeypatch.setattr(stored_module, "USERS_AT_ONCE", users_at_once)
    for _ in range(2):  # as written, and as found
        stored = stored_negatives(file, prepared, "test", protocol)
        np.testing.assert_array_equal(stored.user_ids, rows["user_id"])
        np.testing.assert_array_equal(stored.target_ids, rows["target_item_id"])
        np.testing.assert_array_equal(stored.items, drawn)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(stored.of(rows["user_id"].numpy()[order]), drawn[order])
    fewer = (drawn > 0).sum(axis=1) < NEGATIVES
    assert stored.users_with_fewer == fewer.sum()
    assert fewer.any() == (protocol == "sampled_domain") and not fewer.all()
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("protocol", SAMPLED)
def test_the_file_can_be_read_without_this_code(prepared, file, protocol):
    stored_negatives(file, prepared, "validation", protocol)
    table = pq.read_table(file)
    assert table.column_names == ["user_id", "domain", "item_id", "negatives"]
    catalogue = prepared.catalogue
    names = catalogue.item_ids.tolist()
    for row, user in zip(table.to_pylist(), prepared.splits["validation"], strict=True):
        assert row["user_id"] == user["user_id"].decode()
        assert row["domain"] == catalogue.domains[user["domain"]]
        assert row["item_id"] == user["target_item_id"].decode()
        ids = {names.index(name) + 1 for name in row["negatives"]}
        assert len(ids) == len(row["negatives"])
        assert not ids & {*excluded(user, catalogue), user["target"]}
        domains = set(catalogue.item_domains[np.array([*ids], int) - 1].tolist())
        assert domains <= ({user["domain"]} if protocol == "sampled_domain" else {0, 1, 3})


def rewrite(file, change=lambda table: table, **drawn_from):
    table = pq.read_table(file)
    metadata = json.loads(table.schema.metadata[b"drawn_from"]) | drawn_from
    table = change(table).replace_schema_metadata({b"drawn_from": json.dumps(metadata)})
    pq.write_table(table, file)


def with_column(name, change):
    """A change of one column's values, given and returned as a list."""

    def edit(table):
        index = table.schema.get_field_index(name)
        values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
        return table.set_column(index, name, values)

    return edit


def test_stored_negatives_are_used_and_not_drawn_again(prepared, file):
    stored_negatives(file, prepared, "test", "sampled_all")
    before = stored_negatives(file, prepared, "test", "sampled_all").items
    rewrite(file, with_column("negatives", lambda rows: [row[:40] for row in rows]))
    rewrite(file, lambda table: table.take(np.arange(60)[::-1]))  # rows in whatever order
    after = stored_negatives(file, prepared, "test", "sampled_all")
    assert after.users_with_fewer == 60
    users = split_rows(prepared, "test")["user_id"]
    np.testing.assert_array_equal(after.of(users)[:, -40:], before[:, :40])


def other_user(rows):
    return [*rows[:-1], "somebody else"]


def renamed(table):
    return with_column("user_id", lambda rows: [f"other {row}" for row in rows])(table)


def own_item(prepared):
    """The first user gets a negative that is no candidate, of the own history."""
    catalogue = prepared.catalogue
    name = catalogue.item_ids[min(excluded(prepared.splits["test"][0], catalogue)) - 1]
    return lambda rows: [[name, *rows[0][1:]], *rows[1:]]


def own_target(prepared):
    user = next(i for i, row in enumerate(prepared.splits["test"]) if row["target"])
    name = prepared.splits["test"][user]["target_item_id"].decode()
    return lambda rows: [*rows[:user], [*rows[user][1:], name], *rows[user + 1 :]]


@pytest.mark.parametrize(
    ("change", "drawn_from", "says"),
    [
        (None, {"dataset": "other/1/1.0.0"}, "its dataset is other/1/1.0.0, not fake/"),
        (None, {"split": "validation"}, "its split is validation, not test"),
        (None, {"protocol": "sampled_domain"}, "its protocol is sampled_domain, not sampled_all"),
        (None, {"seed": 5}, "its seed is 5, not 0"),
        (None, {"count": 99}, "its count is 99, not 100"),
        (with_column("user_id", other_user), {}, "it lacks user user 59"),
        (with_column("item_id", other_user), {}, "it lacks user user 59"),
        (lambda table: table.slice(1), {}, "it lacks user user 0"),
        (lambda table: pa.concat_tables([table, table]), {}, "it has a user twice"),
        (lambda table: pa.concat_tables([table, renamed(table)]), {}, "it has 120 users, not 60"),
        (with_column("negatives", lambda rows: [["never seen"], *rows[1:]]), {}, "never seen"),
        (own_item, {}, "negatives of user user 0 are no candidates"),
        (own_target, {}, "are no candidates"),
    ],
)
def test_negatives_of_something_else_are_refused(prepared, file, change, drawn_from, says):
    stored_negatives(file, prepared, "test", "sampled_all")
    if change in (own_item, own_target):
        change = with_column("negatives", change(prepared))
    rewrite(file, change or (lambda table: table), **drawn_from)
    with pytest.raises(InputError, match=f"--protocol sampled_all: {file} .*{says}.*delete it"):
        stored_negatives(file, prepared, "test", "sampled_all")


@pytest.mark.parametrize("content", ["", "not parquet at all", None])
def test_what_is_no_file_of_negatives_is_refused(prepared, file, content):
    if content is None:
        pq.write_table(pa.table({"user_id": ["a"]}), file)
    else:
        file.write_text(content)
    with pytest.raises(InputError, match="does not belong to this run's data"):
        stored_negatives(file, prepared, "test", "sampled_all")


def test_a_damaged_file_is_refused_or_says_the_same(prepared, file):
    """Never a traceback, and never other negatives: pages have checksums."""
    drawn = stored_negatives(file, prepared, "test", "sampled_all")
    whole, refused = file.read_bytes(), 0
    for place in np.linspace(5, len(whole) - 1, 40).astype(int):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        try:
            found = stored_negatives(file, prepared, "test", "sampled_all")
        except InputError as error:
            assert str(file) in str(error)
            refused += 1
            continue
        np.testing.assert_array_equal(found.items, drawn.items)
        np.testing.assert_array_equal(found.user_ids, drawn.user_ids)
    assert refused > 30


def test_a_place_that_cannot_be_written_to_is_named(prepared, tmp_path):
    with pytest.raises(InputError, match=r"--protocol sampled_all: .*cannot be written"):
        stored_negatives(tmp_path / "none" / "file.parquet", prepared, "test", "sampled_all")
