"""Items that only a file knows get ids behind the trained ones, and all else stays as it was."""

import numpy as np
import pyarrow as pa
import pytest

from data_prep import InputError
from data_prep.engines.connection import connect
from data_prep.pipeline.sequences import build_sequences
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION, GlobalTime, LeaveOneOut
from data_prep.read.items.item_table import Items
from tests.data_prep.pipeline.test_sequences import table_of
from tests.support.histories import histories

RNG = np.random.default_rng(5)
ROWS = [
    (f"u{user}", f"{name}{RNG.integers(12)}", name, 100 * step + user)
    for user in range(12)
    for step in range(8)
    for name in [RNG.choice(["a", "b"])]
]
# Sold at the end alone: a validation target, and a test target.
ROWS += [("u0", "late_b", "b", 5000), ("u0", "last_a", "a", 6000)]
SOLD = next(item for _, item, name, _ in ROWS if name == "a")  # First, so it trains.
LATE = GlobalTime(validation_share=0.3, test_share=0.2)


def build(items=None, split=None):
    with connect(threads=1) as engine:
        table = engine.table(table_of(ROWS))
        said: list[str] = []
        built = build_sequences(engine, table, report=said.append, split=split, items=items)
        return built, [histories(built, role) for role in (TRAIN, VALIDATION, TEST)], said


def file_of(ids, domains=None):
    columns = {"item_id": pa.array(ids, pa.string())}
    if domains is not None:
        columns["domain"] = pa.array(domains, pa.string())
    return Items(pa.table(columns), (), "--items items.csv", {})


@pytest.mark.parametrize("split", [LeaveOneOut(), LATE])
def test_cold_items_stand_behind_the_trained_ones(split):
    before, plain, _ = build(split=split)
    known, after_ids = before.catalogue, ["late_b", "last_a", "new1", "new2", SOLD]
    items = file_of(after_ids, ["b", "a", "b", "a", "a"])
    built, splits, _ = build(items, split)
    found = built.catalogue
    assert found.trained_sizes.tolist() == known.sizes.tolist() == known.trained_sizes.tolist()
    order = [
        block[size:].tolist()
        for block, size in zip(
            np.split(found.item_ids, found.sizes.cumsum()[:-1]), found.trained_sizes, strict=True
        )
    ]
    assert order == [["last_a", "new2"], ["late_b", "new1"]]
    # The trained ones are in the order they had, with the counts they had.
    trained = found.counts > 0
    assert found.item_ids[trained].tolist() == known.item_ids.tolist()
    assert found.counts[trained].tolist() == known.counts.tolist()
    assert found.cold.tolist() == [False, *(~trained).tolist()]
    names = dict(enumerate(found.item_ids, 1)) | {0: None}
    old = dict(enumerate(known.item_ids, 1)) | {0: None}
    cold = {"late_b", "last_a"}
    for now, then in zip(splits, plain, strict=True):
        assert now.keys() == then.keys()
        for user, events in now.items():
            # In a history stands what it had, and the cold items in their places.
            kept = [(i, t) for i, _, t, *_ in events[:-1] if i not in cold]
            assert kept == [(i, t) for i, _, t, *_ in then[user][:-1]]
            assert all(names[n] == i for i, n, *_ in events if n)
            assert all(old[n] == i for i, n, *_ in then[user] if n)
    if isinstance(split, LeaveOneOut):
        target = splits[2]["u0"][-1]
        assert (target[0], names[target[1]]) == ("last_a", "last_a")
        assert "late_b" in [i for i, *_ in splits[2]["u0"][:-1]]
        assert plain[2]["u0"][-1][1] == 0
        assert built.statistics["cold_test_targets"] >= 1
    lost = before.statistics["unknown_test_targets"] - built.statistics["unknown_test_targets"]
    assert lost == built.statistics["cold_test_targets"]


def test_the_log_says_the_domain_and_who_has_none_is_left_out():
    built, _, said = build(
        file_of(["last_a", "new1", "new2", "new3", SOLD], ["b", "b", "nowhere", None, "a"]), LATE
    )
    cold = built.catalogue.item_ids[built.catalogue.counts == 0].tolist()
    assert cold == ["last_a", "new1"]
    assert built.catalogue.item_domains[built.catalogue.counts == 0].tolist() == [0, 1]
    assert built.statistics["listed_items_left_out"] == 2
    assert built.statistics["listed_in_another_domain"] == 1
    text = " ".join(said)
    assert "2 items without training events are left out" in text
    assert "1 items have another domain in the log" in text


def test_without_a_domain_only_what_the_log_has_becomes_known():
    built, _, said = build(file_of(["last_a", "new1", SOLD]), LATE)
    assert built.catalogue.item_ids[built.catalogue.counts == 0].tolist() == ["last_a"]
    assert any("no column 'domain'" in line for line in said)


def test_a_file_of_other_items_is_refused_and_of_few_told():
    with pytest.raises(InputError, match=r"items\.csv: none of the .* items of the log is in it"):
        build(file_of(["x", "y"], ["a", "b"]), LATE)
    built, _, said = build(file_of([SOLD], ["a"]), LATE)
    lacks = next(line for line in said if "covers" in line)
    every, missing = (built.statistics[n] for n in ("items_of_domain", "unlisted_items"))
    assert f"a {every['a'] - 1:,} of {every['a']:,}, b {every['b']:,} of {every['b']:,}" in lacks
    assert missing == {"a": every["a"] - 1, "b": every["b"]}
    assert lacks.endswith("does it belong to this log?")
