"""Batches: everybody once, in order, padded on the left, and repeatable."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from data_prep import prepare
from tf_syncrec.data import evaluation_batches, train_batches

WINDOW = 6


def rows_of(batches):
    """The rows of training batches without their padding, in order."""
    rows = []
    for batch in batches:
        assert set(batch) == {"items"} and batch["items"].dtype == tf.int32
        for row in batch["items"].numpy():
            items = row[row > 0]
            assert len(items) and (row[len(row) - len(items) :] == items).all(), "not left-padded"
            rows.append(tuple(items.tolist()))
    return rows


def latest(prepared):
    return Counter(tuple(row["items"][-WINDOW - 1 :].tolist()) for row in prepared.splits["train"])


def test_training_holds_the_latest_items_of_every_user_once_an_epoch(make_prepared):
    prepared = make_prepared()
    batches = train_batches(prepared, WINDOW, 16, seed=0)
    for _ in range(2):
        assert Counter(rows_of(batches)) == latest(prepared)
    shapes = [batch["items"].shape for batch in batches]
    assert sum(rows for rows, _ in shapes) == 80
    assert all(rows <= 16 and width <= WINDOW + 1 for rows, width in shapes)


def test_epochs_differ_and_seeds_repeat(make_prepared):
    prepared = make_prepared()

    def two_epochs(seed):
        batches = train_batches(prepared, WINDOW, 16, seed=seed)
        return rows_of(batches), rows_of(batches)

    first, second = two_epochs(0)
    assert first != second
    assert first != [tuple(row["items"][-WINDOW - 1 :]) for row in prepared.splits["train"]]
    assert two_epochs(0) == (first, second)
    assert two_epochs(1)[0] != first


@pytest.mark.parametrize("domain", [None, 0])
def test_how_many_batches_there_are_is_known(make_prepared, domain):
    """Keras would begin one more step than there are batches, and count it."""
    batches = train_batches(make_prepared(), WINDOW, 16, seed=0, domain=domain)
    assert batches.cardinality() == sum(1 for _ in batches)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_evaluation_covers_everybody_in_batches_of_one_domain(make_prepared, split, batch_size):
    prepared = make_prepared()
    rows = {row["user_id"]: row for row in prepared.splits[split]}
    met = []
    for batch in evaluation_batches(prepared, split, batch_size):
        batch = {name: value.numpy() for name, value in batch.items()}
        assert len(set(batch["domain"])) == 1
        assert len(batch["domain"]) <= batch_size
        assert {batch[name].dtype for name in ("items", "domain", "target")} == {np.dtype("int32")}
        for i, user in enumerate(batch["user_id"]):
            row, history = rows[user], batch["items"][i]
            length = len(row["items"])  # whole, however long
            np.testing.assert_array_equal(history[len(history) - length :], row["items"])
            assert not history[: len(history) - length].any()
            for name in ("domain", "target", "target_item_id"):
                assert batch[name][i] == row[name]
            met.append(user)
    assert Counter(met) == Counter(rows.keys())


def test_a_prepared_dataset_flows_through(tmp_path):
    sizes = {"users": 60, "items_per_domain": 12, "interactions_per_user": 8}
    prepared = prepare("synthetic", synthetic=sizes, data_dir=tmp_path, report=None)
    rows = rows_of(train_batches(prepared, WINDOW, 16, seed=0))
    assert len(rows) == 60
    assert max(map(len, rows)) == WINDOW + 1
    assert {item for row in rows for item in row} <= set(range(1, prepared.catalogue.num_items + 1))
    trained = {
        row["user_id"]: row["items"].tolist()
        for row in prepared.as_dataset("train").as_numpy_iterator()
    }
    assert Counter(rows) == Counter(tuple(items[-WINDOW - 1 :]) for items in trained.values())
    for split in ("validation", "test"):
        users = []
        for batch in evaluation_batches(prepared, split, 16):
            histories = batch["items"].numpy()
            for user, row in zip(batch["user_id"].numpy(), histories, strict=True):
                assert row[row > 0][: len(trained[user])].tolist() == trained[user]
                users.append(user)
        assert sorted(users) == sorted(trained)


@pytest.mark.parametrize("domain", [1, 2, 3])
def test_a_single_domain_keeps_its_items_and_leaves_out_who_has_none(make_prepared, domain):
    """Domains of 3, 0 and 20 items: the window counts items of the domain alone."""
    prepared = make_prepared()
    first = int(prepared.catalogue.offsets[domain])
    own = range(first, first + int(prepared.catalogue.sizes[domain]))
    expected = [
        tuple(x for x in row["items"].tolist() if x in own)[-WINDOW - 1 :]
        for row in prepared.splits["train"]
    ]
    batches = train_batches(prepared, WINDOW, 16, seed=0, domain=domain)
    for _ in range(2):
        assert Counter(rows_of(batches)) == Counter(items for items in expected if items)
    assert () in expected


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("domain", [1, 2, 3])
def test_a_single_domain_is_asked_for_its_own_targets(make_prepared, split, domain):
    """Also the ones never trained, and of users who have no item of the domain yet."""
    prepared = make_prepared()
    first = int(prepared.catalogue.offsets[domain])
    own = range(first, first + int(prepared.catalogue.sizes[domain]))
    rows = {row["user_id"]: row for row in prepared.splits[split] if row["domain"] == domain}
    assert any(row["target"] == 0 for row in rows.values())
    met = []
    for batch in evaluation_batches(prepared, split, 7, domain=domain):
        assert set(batch["domain"].numpy()) == {domain}
        for items, user, target, raw in zip(
            batch["items"].numpy(),
            batch["user_id"].numpy(),
            batch["target"].numpy(),
            batch["target_item_id"].numpy(),
            strict=True,
        ):
            history = [x for x in rows[user]["items"].tolist() if x in own]
            np.testing.assert_array_equal(items[len(items) - len(history) :], history)
            assert not items[: len(items) - len(history)].any()
            assert (target, raw) == (rows[user]["target"], rows[user]["target_item_id"])
            met.append(user)
    assert Counter(met) == Counter(rows.keys())


@pytest.mark.parametrize("domain", [None, 1])
def test_users_stay_beside_their_rows(make_prepared, domain):
    prepared = make_prepared()
    first, end = (1, 36) if domain is None else (13, 16)
    expected = {
        row["user_id"]: items[-WINDOW - 1 :]
        for row in prepared.splits["train"]
        if (items := [x for x in row["items"].tolist() if first <= x < end])
    }
    batches = train_batches(prepared, WINDOW, 16, seed=0, domain=domain, with_users=True)
    for _ in range(2):
        met: dict = {}
        for batch in batches:
            assert set(batch) == {"items", "user_id"} and batch["user_id"].dtype == tf.string
            rows = zip(batch["user_id"].numpy(), batch["items"].numpy(), strict=True)
            met |= {user: row[row > 0].tolist() for user, row in rows}
        assert met == expected
