"""Batches: everybody once, in order, and repeatable."""

from collections import Counter

import numpy as np
import pytest

from data_prep import prepare
from tests.support.batches import sequences_of, windows_of
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.data.some_domains import SomeDomains

WINDOW = 6


def rows_of(batches):
    """The sequences of training batches, in order."""
    return [row for batch in batches for row in sequences_of(batch, WINDOW)]


def expected(prepared, overlap=True, own=None):
    """All windows of all users, of the items in `own`."""
    return Counter(
        window
        for row in prepared.splits["train"]
        for window in windows_of(
            [x for x in row["items"].tolist() if own is None or x in own], WINDOW, overlap
        )
    )


@pytest.mark.parametrize("layout", ["packed", "padded", "users"])
def test_every_window_of_every_user_comes_once_an_epoch(make_prepared, layout):
    prepared = make_prepared()
    windows = expected(prepared, overlap=layout != "users")
    assert sum(windows.values()) > len(prepared.splits["train"]), "nobody has a second window"
    batches = train_batches(prepared, WINDOW, 16, seed=0, layout=layout)
    for epoch in range(2):
        assert Counter(rows_of(batches.epoch(epoch))) == windows
    sizes = [len(sequences_of(batch, WINDOW)) for batch in batches]
    assert sum(sizes) == sum(windows.values()) and set(sizes[:-1]) == {16} and sizes[-1] <= 16


@pytest.mark.parametrize("layout", ["packed", "padded", "users"])
def test_every_item_is_a_target_once_an_epoch(make_prepared, layout):
    """The first item of a window that is full to the brim is one of the window before."""
    prepared = make_prepared()
    targets: Counter = Counter()
    for sequence in rows_of(train_batches(prepared, WINDOW, 16, seed=0, layout=layout)):
        targets.update(sequence[-WINDOW:])
    assert targets == Counter(x for row in prepared.splits["train"] for x in row["items"].tolist())


@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_times_stand_beside_their_items(make_prepared, layout):
    prepared = make_prepared()
    for number, row in enumerate(prepared.splits["train"]):
        row["timestamps"] = 1.5e9 + 1e4 * number + np.arange(len(row["items"]))
    pairs: Counter = Counter()
    for row in prepared.splits["train"]:
        events = list(zip(row["items"].tolist(), row["timestamps"].tolist(), strict=True))
        pairs.update(windows_of(events, WINDOW))
    found: Counter = Counter()
    for batch in train_batches(prepared, WINDOW, 16, seed=0, layout=layout, times=True):
        items, times = batch["items"].numpy(), batch["timestamps"].numpy()
        assert not times[items == 0].any()
        owners = np.where(items > 0, np.arange(len(items))[:, None], -1)
        owners = batch["segments"].numpy() if layout == "packed" else owners
        for owner in np.unique(owners[owners >= 0]):
            own = owners == owner
            found[tuple(zip(items[own].tolist(), times[own].tolist(), strict=True))] += 1
    assert found == pairs


def test_of_a_long_history_the_last_window_alone(make_prepared):
    prepared = make_prepared()
    batches = train_batches(prepared, WINDOW, 16, seed=0, windows="last")
    latest = Counter(
        tuple(row["items"][-WINDOW - 1 :].tolist()) for row in prepared.splits["train"]
    )
    assert Counter(rows_of(batches)) == latest
    assert batches.steps == batches.epoch(0).cardinality() == sum(1 for _ in batches)


def test_packed_rows_are_full(make_prepared):
    batches = train_batches(make_prepared(), WINDOW, 16, seed=0)
    cells = np.concatenate([batch["items"].numpy()[:, 1:].ravel() for batch in batches])
    assert np.mean(cells > 0) > 0.85


def test_epochs_differ_and_seeds_repeat(make_prepared):
    prepared = make_prepared()

    def two_epochs(seed):
        batches = train_batches(prepared, WINDOW, 16, seed=seed)
        return rows_of(batches.epoch(0)), rows_of(batches.epoch(1))

    first, second = two_epochs(0)
    assert first != second
    assert first != list(expected(prepared).elements())
    assert two_epochs(0) == (first, second)
    assert first not in two_epochs(1) and second not in two_epochs(1)


@pytest.mark.parametrize("layout", ["packed", "padded", "users"])
def test_any_position_is_found_without_what_came_before_it(make_prepared, layout):
    """Another process, which has trained on nothing yet, begins in the middle of an epoch."""
    prepared = make_prepared()
    whole = [
        {name: value.numpy().tolist() for name, value in batch.items()}
        for batch in train_batches(prepared, WINDOW, 16, 3, layout).epoch(7)
    ]
    for first in (0, 1, len(whole) - 1, len(whole)):
        rest = train_batches(prepared, WINDOW, 16, 3, layout).epoch(7, first)
        assert rest.cardinality() == len(whole) - first
        found = [{name: value.numpy().tolist() for name, value in b.items()} for b in rest]
        assert found == whole[first:]


@pytest.mark.parametrize("layout", ["packed", "users"])
def test_whose_a_batch_is_can_be_told(make_prepared, layout):
    prepared = make_prepared()
    batches = train_batches(prepared, WINDOW, 16, seed=0, layout=layout)
    windows = {
        row["user_id"].decode(): windows_of(row["items"], WINDOW, layout != "users")
        for row in prepared.splits["train"]
    }
    for step, batch in enumerate(batches.epoch(2)):
        users = batches.users_of(2, step)
        of_users = {window for user in users for window in windows[user]}
        assert len(users) <= 16 and set(sequences_of(batch, WINDOW)) <= of_users
        if layout == "users":
            assert users == sorted({user.decode() for user in batch["user_id"].numpy()})


@pytest.mark.parametrize("domain", [None, 0])
def test_how_many_batches_there_are_is_known(make_prepared, domain):
    """Keras would begin one more step than there are batches, and count it."""
    prepared = make_prepared()
    if domain is not None:
        prepared = SomeDomains(prepared, [domain])
    batches = train_batches(prepared, WINDOW, 16, seed=0)
    assert batches.steps == batches.epoch(0).cardinality() == sum(1 for _ in batches)


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
    assert {item for row in rows for item in row} <= set(range(1, prepared.catalogue.num_items + 1))
    trained = {
        row["user_id"]: row["items"].tolist()
        for row in prepared.as_dataset("train").as_numpy_iterator()
    }
    assert len(trained) == 60
    assert Counter(rows) == Counter(
        window for items in trained.values() for window in windows_of(items, WINDOW)
    )
    for split in ("validation", "test"):
        users = []
        for batch in evaluation_batches(prepared, split, 16):
            histories = batch["items"].numpy()
            for user, row in zip(batch["user_id"].numpy(), histories, strict=True):
                assert row[row > 0][: len(trained[user])].tolist() == trained[user]
                users.append(user)
        assert sorted(users) == sorted(trained)


DOMAINS = [[1], [2], [3], [0, 3], [1, 2]]
"""Of 12, 3, 0 and 20 items."""


def new_ids(prepared, domains):
    """`{id in the whole: id among some domains}`."""
    of_domain = np.append(-1, prepared.catalogue.item_domains)
    return {int(old): new for new, old in enumerate(np.flatnonzero(np.isin(of_domain, domains)), 1)}


@pytest.mark.parametrize("domains", DOMAINS)
def test_some_domains_keep_their_items_and_leave_out_who_has_none(make_prepared, domains):
    """The window counts items of these domains alone."""
    prepared = make_prepared()
    some, new = SomeDomains(prepared, domains), new_ids(prepared, domains)
    old = {place: item for item, place in new.items()}
    batches = train_batches(some, WINDOW, 16, seed=0)
    for epoch in range(2):
        rows = [tuple(old[x] for x in row) for row in rows_of(batches.epoch(epoch))]
        assert Counter(rows) == expected(prepared, own=list(new))
    assert any(not set(row["items"].tolist()) & set(new) for row in prepared.splits["train"])
    whole = prepared.catalogue
    for name in ("item_ids", "counts"):
        kept = getattr(whole, name)[[item - 1 for item in new]]
        np.testing.assert_array_equal(getattr(some.catalogue, name), kept)
    assert some.catalogue.domains == tuple(whole.domains[d] for d in domains)
    assert some.catalogue.sizes.tolist() == [whole.sizes[d] for d in domains]
    assert some.catalogue.repeats.tolist() == [whole.repeats[d] for d in domains]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("domains", DOMAINS)
def test_some_domains_are_asked_for_their_own_targets(make_prepared, split, domains):
    """Also the ones never trained, and of users who have no item of the domain yet."""
    prepared = make_prepared()
    new = new_ids(prepared, domains)
    rows = {row["user_id"]: row for row in prepared.splits[split] if row["domain"] in domains}
    assert any(row["target"] == 0 for row in rows.values())
    met = []
    for batch in evaluation_batches(SomeDomains(prepared, domains), split, 7):
        for items, user, target, raw, domain in zip(
            batch["items"].numpy(),
            batch["user_id"].numpy(),
            batch["target"].numpy(),
            batch["target_item_id"].numpy(),
            batch["domain"].numpy(),
            strict=True,
        ):
            history = [new[x] for x in rows[user]["items"].tolist() if x in new]
            np.testing.assert_array_equal(items[len(items) - len(history) :], history)
            assert not items[: len(items) - len(history)].any()
            assert target == new.get(int(rows[user]["target"]), 0)
            assert raw == rows[user]["target_item_id"]
            assert domains[domain] == rows[user]["domain"]
            met.append(user)
    assert Counter(met) == Counter(rows.keys())


@pytest.mark.parametrize("domain", [None, 1])
def test_users_stay_beside_their_rows(make_prepared, domain):
    prepared = make_prepared()
    first, end = (1, 36) if domain is None else (13, 16)
    windows = {
        (row["user_id"], window)
        for row in prepared.splits["train"]
        for window in windows_of(
            [x - first + 1 for x in row["items"].tolist() if first <= x < end], WINDOW, False
        )
    }
    some = prepared if domain is None else SomeDomains(prepared, [domain])
    batches = train_batches(some, WINDOW, 16, seed=0, layout="users")
    for epoch in range(2):
        met = [
            pair
            for batch in batches.epoch(epoch)
            for pair in zip(batch["user_id"].numpy(), sequences_of(batch, WINDOW), strict=True)
        ]
        assert set(met) == windows and len(met) == len(windows)
