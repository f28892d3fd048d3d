"""The split in time, against a slow literal reading of it; and leave-one-out as it always was."""

import bisect
import collections
import dataclasses
import functools
import hashlib
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_datasets as tfds

import data_prep.builders  # noqa: F401, registers them
from data_prep import InputError, prepare
from data_prep.engines.connection import connect
from data_prep.fingerprint import fingerprint
from data_prep.pipeline.k_core import Core
from data_prep.pipeline.sequences import build_sequences
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION, GlobalTime, LeaveOneOut
from data_prep.read.datasets import complete_journey
from data_prep.settings import data_config
from data_prep.store.sequence_builder import SequenceConfig
from tests.data_prep.pipeline.test_sequences import random_log, table_of
from tests.support.complete_journey import SECOND, products, transactions, write_package
from tests.support.histories import histories

SHARES = [(0.1, 0.1), (0.3, 0.15), (0.07, 0.5)]
SMALL: dict[str, Any] = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}


def run(rows, split, k=1, threads=None, batch_rows=200_000):
    """The splits as `{user: [(item, id, time)]}` in the pipeline's order, statistics, catalogue."""
    with connect(threads=threads) as engine:
        table = engine.table(table_of(rows))
        built = build_sequences(engine, table, Core(k), split=split, batch_rows=batch_rows)
        splits = [
            {user: [event[:3] for event in events] for user, events in found.items()}
            for found in (histories(built, r) for r in (TRAIN, VALIDATION, TEST))
        ]
        return splits, built.statistics, built.catalogue


def literal(rows, validation_share, test_share, k=1):
    """The rule as `GlobalTime` says it, and as README and docs do."""
    everything = {(float(time), user, item) for user, item, _, time in rows}
    times = sorted(time for time, _, _ in everything)
    test_start = times[len(times) - round(len(times) * test_share)]
    start = times[len(times) - round(len(times) * (validation_share + test_share))]
    core = {e for e in everything if e[0] < start}
    judged = {user for _, user, _ in core}
    while True:
        users = collections.Counter(user for _, user, _ in core)
        items = collections.Counter(item for _, _, item in core)
        kept = {e for e in core if users[e[1]] >= k and items[e[2]] >= k}
        if kept == core:
            break
        core = kept
    dropped = judged - {user for _, user, _ in core}
    events = core | {e for e in everything if e[0] >= start and e[1] not in dropped}
    listed: dict = collections.defaultdict(collections.Counter)
    for begin, end in ((-1e99, start), (start, test_start), (test_start, 1e99)):
        named: dict = collections.defaultdict(collections.Counter)
        for _, item, domain, time in rows:
            if begin <= time < end and item not in listed:
                named[item][domain] += 1
        listed |= named
    owner = {i: min(c, key=lambda d: (-c[d], d)) for i, c in listed.items()}
    counts = collections.Counter(item for time, _, item in events if time < start)
    known = sorted(counts, key=lambda i: (owner[i], -counts[i], i))
    train: dict = {}
    validation: dict = {}
    test: dict = {}
    left_out = [0, 0]
    for user in {user for _, user, _ in events}:
        mine = [(time, item) for time, owner, item in events if owner == user]
        mine.sort(key=lambda e: (e[0], hashlib.md5(f"{user}\x1f{e[1]}".encode()).hexdigest()))
        row = [(i, known.index(i) + 1 if i in counts else 0, time) for time, i in mine]
        periods: list[list] = [[], [], []]
        for event in row:
            periods[(event[2] >= start) + (event[2] >= test_start)].append(event)
        early, middle, late = periods
        if early:
            train[user] = early
        for split, number, before, period in (
            (validation, 0, early, middle),
            (test, 1, early + middle, late),
        ):
            if period and before:
                split[user] = [event for event in before if event[1] > 0] + period[:1]
            elif period:
                left_out[number] += 1
    return [train, validation, test], left_out, known, (start, test_start)


def logs():
    """Logs with many ties, and one whose times need all digits of a float64."""
    for seed in range(4):
        yield random_log(seed)
    rng = random.Random(0)
    digits = {quarter / 4: rng.uniform(1e9, 1e9 + 1) for quarter in range(12)}
    yield [(user, item, domain, digits[time]) for user, item, domain, time in random_log(9)]
    # Users come and go, so that some have nothing before a period, or nothing known.
    long = random_log(5, users=300, items=800, rows=900)
    yield [(user, item, domain, time + int(user[1:]) / 7) for user, item, domain, time in long]


@functools.cache
def split_logs(validation, test):
    """All `logs` with what `run` makes of them."""
    return [(rows, *run(rows, GlobalTime(validation, test))) for rows in logs()]


@pytest.mark.parametrize(("validation", "test"), SHARES)
def test_equals_the_literal_reading(validation, test):
    seen: collections.Counter = collections.Counter()
    for rows, splits, statistics, catalogue in split_logs(validation, test):
        expected, left_out, known, starts = literal(rows, validation, test)
        assert splits == expected
        assert catalogue.item_ids.tolist() == known
        assert (statistics["validation_start"], statistics["test_start"]) == starts
        assert [statistics[f"{name}_users_left_out"] for name in ("validation", "test")] == left_out
        assert statistics["validation_users"] == len(splits[1])
        assert statistics["evaluated_users"] == len(splits[2])
        assert statistics["events"] == len({(u, i, float(t)) for u, i, _, t in rows})
        seen["left out"] += sum(left_out)
        for split in splits[1:]:
            seen["cold"] += sum(events[-1][1] == 0 for events in split.values())
            seen["nothing known"] += sum(len(events) == 1 for events in split.values())
        seen["no training row"] += len(set(splits[2]) - set(splits[0]))
    assert min(seen.values()) > 0 and len(seen) == 4, f"cases that never came up: {seen}"


@pytest.mark.parametrize("k", [2, 4])
def test_the_k_core_is_that_of_the_training_period(k):
    rows = random_log(2)
    expected, left_out, known, starts = literal(rows, 0.2, 0.2, k)
    splits, statistics, catalogue = run(rows, GlobalTime(0.2, 0.2), k)
    assert splits == expected and catalogue.item_ids.tolist() == known
    assert (statistics["validation_start"], statistics["test_start"]) == starts
    assert [statistics[f"{name}_users_left_out"] for name in ("validation", "test")] == left_out
    assert len(known) < len({item for _, item, _, time in rows if time < starts[0]})


@dataclasses.dataclass(frozen=True)
class CutAt(GlobalTime):
    """Periods as they were in another log."""

    cuts: tuple[float, float] = (0.0, 0.0)

    def starts(self, engine, rows):
        return dict(zip(("validation_start", "test_start"), self.cuts, strict=True))


def others(rows, rng, start, more):
    """A log that has other rows from a time on, and the same before it.

    Of the later rows three in four are gone. For each of them there are `more` others, of all users
    and items and of new ones, which often name a domain that the log did not have.
    """
    late = [row for row in rows if row[3] >= start]
    changed = [row for row in rows if row[3] < start] + rng.sample(late, len(late) // 4)
    for _ in range(more * len(late)):
        user = rng.choice([*(f"u{n}" for n in range(30)), "new user", "another"])
        item = rng.choice([*(f"i{n}" for n in range(25)), "new item", "another"])
        domain = rng.choice(["b", "a", "c", "Ä", "a b", *["new domain"] * 5])
        changed.append((user, item, domain, start + rng.randrange(9) / 4))
    rng.shuffle(changed)
    return changed


@pytest.mark.parametrize(("seed", "k", "more"), [(0, 1, 5), (1, 1, 0), (2, 4, 5), (3, 4, 0)])
def test_nothing_later_changes_what_trains(seed, k, more):
    """Rows after a cut leave alone what is before it: rows, items, their ids, order and domains.

    What is later than the first cut has no part in training, what is later than the second one no
    part in validation.
    """
    rows, rng = random_log(seed), random.Random(seed)
    splits, statistics, catalogue = run(rows, GlobalTime(0.2, 0.2), k)
    cuts = statistics["validation_start"], statistics["test_start"]

    def items(found):
        names = [found.domains[d] for d in found.item_domains]
        return found.item_ids.tolist(), names, found.counts.tolist()

    after_first, _, other = run(others(rows, rng, cuts[0], more), CutAt(0.2, 0.2, cuts), k)
    assert after_first[0] == splits[0] and items(other) == items(catalogue)
    assert list(after_first[0]) == list(splits[0]), "the order of users"
    assert after_first[1] != splits[1]
    after_second, _, other = run(others(rows, rng, cuts[1], more), CutAt(0.2, 0.2, cuts), k)
    assert after_second[:2] == splits[:2] and items(other) == items(catalogue)
    assert after_second[2] != splits[2]


def times_of(splits):
    """All times of training, and those of the targets of the other two."""
    trained = [time for events in splits[0].values() for _, _, time in events]
    return trained, *([events[-1][2] for events in split.values()] for split in splits[1:])


@pytest.mark.parametrize(("validation", "test"), SHARES)
def test_nothing_is_trained_that_is_not_older_than_every_target(validation, test):
    for _, splits, _, _ in split_logs(validation, test):
        trained, *targets = times_of(splits)
        assert max(trained) < min(targets[0])
        assert max(targets[0]) < min(targets[1])
        for split in splits[1:]:
            for events in split.values():
                assert all(time < events[-1][2] for _, _, time in events[:-1])


def test_leave_one_out_does_train_on_what_is_newer():
    trained, validation, test = times_of(run(random_log(1), LeaveOneOut())[0])
    assert max(trained) > min(test) and max(trained) > min(validation)


@pytest.mark.parametrize(("validation", "test"), SHARES)
def test_the_cut_is_the_latest_that_gives_a_period_its_share(validation, test):
    for rows, _, statistics, _ in split_logs(validation, test):
        times = sorted(time for time, _, _ in {(float(t), u, i) for u, i, _, t in rows})
        for start, share in (
            (statistics["validation_start"], validation + test),
            (statistics["test_start"], test),
        ):
            wanted = round(share * len(times))
            assert len(times) - bisect.bisect_left(times, start) >= wanted
            assert len(times) - bisect.bisect_right(times, start) < wanted


def test_row_order_threads_and_batches_do_not_show():
    rows = random_log(7)
    splits, statistics, catalogue = run(rows, GlobalTime(0.2, 0.2))
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    for threads, batch_rows in ((1, 200_000), (2, 3), (2, 1)):
        again, told, other = run(shuffled, GlobalTime(0.2, 0.2), 1, threads, batch_rows)
        assert again == splits and told == statistics
        assert [list(s) for s in again] == [list(s) for s in splits], "the order of users"
        assert other.item_ids.tolist() == catalogue.item_ids.tolist()


def test_the_unit_of_time_does_not_show():
    rows = random_log(8)
    thousandths = [(user, item, domain, 1000 * time) for user, item, domain, time in rows]
    one, other = (run(log, GlobalTime(0.2, 0.2))[0] for log in (rows, thousandths))
    assert other == [
        {user: [(i, n, 1000 * t) for i, n, t in events] for user, events in split.items()}
        for split in one
    ]


@pytest.mark.parametrize("split", [LeaveOneOut(), GlobalTime(0.2, 0.2)])
@pytest.mark.parametrize(
    ("ticks", "late"),
    [(1, 2**60), (10**9, 1_704_448_800 * 10**9), (10**6, 253_402_300_799 * 10**6)],
)
def test_times_that_floats_do_not_keep_apart(split, ticks, late):
    """Moved to where neighbours are one float, a log has the rows and the order that it had."""
    rows = [(user, item, domain, int(4 * time)) for user, item, domain, time in random_log(8)]
    moved = pa.array([late + time for *_, time in rows], pa.int64())
    assert (late + 1) / ticks == late / ticks
    expected, told, _ = run(rows, split, k=2)
    with connect() as engine:
        table = table_of(rows).set_column(3, "timestamp", moved)
        built = build_sequences(engine, engine.table(table), Core(2), split=split, ticks=ticks)
        found = [
            {user: [event[:2] for event in events] for user, events in histories(built, r).items()}
            for r in (TRAIN, VALIDATION, TEST)
        ]
        times = {
            t for r in (TRAIN, VALIDATION) for batch in built.rows(r) for t in batch.timestamps
        }
    assert found == [
        {user: [event[:2] for event in events] for user, events in split.items()}
        for split in expected
    ]
    assert times <= {time / ticks for time in moved.to_pylist()}
    for name in told.keys() & {"validation_start", "test_start"}:
        exact = late + int(told[name])
        assert built.statistics[name] == (exact if ticks == 1 else exact / ticks)


def test_who_is_a_target_of_what():
    rows = [("early", f"{d}{n}", d, n) for n in range(8) for d in "ab"]
    rows += [("all", "a1", "a", 3), ("all", "new", "a", 10), ("all", "a2", "a", 11)]
    rows += [("all", "b1", "b", 20), ("all", "b2", "b", 21)]
    rows += [("late", "new", "a", 10), ("late", "b3", "b", 20)]
    rows += [("last", "a1", "a", 20)]
    # 24 events: validation begins with the 6th from the end, which ties with the 7th.
    splits, statistics, _ = run(rows, GlobalTime(0.1, 4 / 24))
    items = [{u: [i for i, _, _ in events] for u, events in split.items()} for split in splits]
    assert set(items[0]) == {"early", "all"}
    assert items[1] == {"all": ["a1", "new"]}
    # What nobody trains is dropped from a history as ever; then nothing may be left of it.
    assert items[2] == {"all": ["a1", "a2", "b1"], "late": ["b3"]}
    assert (statistics["validation_start"], statistics["test_start"]) == (10, 20)
    assert statistics["validation_users_left_out"] == statistics["test_users_left_out"] == 1


# -------------------------------------------------------------------------------- what is refused

TEN = [("u", f"i{n}", "ab"[n % 2], n) for n in range(10)]


@pytest.mark.parametrize(
    ("rows", "shares", "parts"),
    [
        ([(u, i, d, 5) for u, i, d, _ in TEN], (0.1, 0.1), ["training", "10", "of time 5 to 5"]),
        ([(u, i, d, t // 9) for u, i, d, t in TEN], (0.1, 0.1), ["training", "of time 0 to 1"]),
        ([(u, i, d, t // 5) for u, i, d, t in TEN], (0.2, 0.2), ["validation period is empty"]),
        (TEN, (0.5, 0.04), ["test period is empty", "test_share=0.04"]),
        (TEN, (0.04, 0.5), ["validation period is empty"]),
        (TEN, (0.04, 0.04), ["test period is empty"]),
        (TEN, (0.5, 0.49), ["training period is empty"]),
        (
            [(f"u{t}", i, d, t) for _, i, d, t in TEN],
            (0.2, 0.3),
            ["none of the 2 users of the validation period"],
        ),
        (
            [*TEN[:8], ("v", "i1", "b", 8), ("w", "i1", "b", 9)],
            (0.2, 0.2),
            ["none of the 2 users of the test period"],
        ),
        ([(u, i, "a", t) for u, i, _, t in TEN], (0.1, 0.1), ["one domain only"]),
    ],
)
def test_a_log_that_cannot_be_split_is_named(rows, shares, parts):
    with pytest.raises(InputError) as caught:
        run(rows, GlobalTime(*shares))
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert [part for part in parts if part not in message] == []
    if "domain" not in message:
        assert "data.split=global_time" in message and f"test_share={shares[1]}" in message


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"split": "by_user"}, ["data.split=by_user", "leave_one_out, global_time"]),
        ({"split": "global_time", "test_share": 0}, ["data.test_share=0:"]),
        ({"split": "global_time", "test_share": 1.0}, ["data.test_share=1.0:"]),
        ({"split": "global_time", "validation_share": -0.1}, ["data.validation_share=-0.1:"]),
        ({"split": "global_time", "validation_share": True}, ["data.validation_share=True:"]),
        ({"split": "global_time", "test_share": float("nan")}, ["data.test_share=nan:"]),
        ({"split": "global_time", "test_share": "0.1"}, ["data.test_share=0.1:"]),
        (
            {"split": "global_time", "validation_share": 0.4, "test_share": 0.6},
            ["data.validation_share=0.4", "data.test_share=0.6", "nothing to train on"],
        ),
        ({"test_share": 0.2}, ["data.test_share=0.2", "data.split=global_time", "leave_one_out"]),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, parts):
    with pytest.raises(InputError) as caught:
        prepare("synthetic", **options, data_dir=tmp_path / "data", report=None)
    assert [part for part in parts if part not in str(caught.value)] == []
    assert not (tmp_path / "data").exists()


# ------------------------------------------------------------------------------- prepared datasets


def name_of(dataset, **options):
    """The fingerprint."""
    return SequenceConfig(settings=data_config(dataset, **options)).name


def test_leave_one_out_has_the_name_it_always_had(tmp_path):
    settings = {"min_interactions": 1, "seed": 0} | SMALL
    assert name_of("synthetic", **SMALL) == fingerprint(settings)
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,domain,timestamp\nu,i,a,1\n")
    files = [
        [hashlib.sha256(log.read_bytes()).hexdigest(), "user_id", "item_id", "domain", "timestamp"]
    ]
    expected = fingerprint({"min_interactions": 1, "files": files})
    assert name_of("interactions", path=log) == expected
    assert name_of("interactions", path=log, split="leave_one_out") == expected


def test_every_split_is_a_dataset_of_its_own():
    def name(**options: Any):
        return name_of("synthetic", **SMALL, **options)

    default = name(split="global_time")
    others = [
        name(split="global_time", **{share: 0.2}) for share in ("validation_share", "test_share")
    ]
    assert len({name(), default, *others}) == 4
    assert name(split="global_time", validation_share=0.1, test_share=0.1) == default


@pytest.mark.parametrize("dataset", ["synthetic", "interactions", "amazon", "complete_journey"])
def test_every_builder_has_it(tmp_path, monkeypatch, dataset):
    rng = np.random.default_rng(0)
    rows = [(f"u{n % 9}", f"i{rng.integers(30)}", t) for n, t in enumerate(rng.permutation(200))]
    (tmp_path / "log.csv").write_text(
        "user_id,item_id,domain,timestamp\n"
        + "".join(f"{u},{i},{'ab'[int(i[1:]) % 2]},{t}\n" for u, i, t in rows)
    )
    (tmp_path / "raw").mkdir()
    for d, name in enumerate(("Books", "Toys")):
        lines = (f"{i},{u},5.0,{t}\n" for u, i, t in rows if int(i[1:]) % 2 == d)
        (tmp_path / "raw" / f"{name}.csv").write_text("".join(lines))
    bought = transactions((int(u[1:]), int(i[1:]), 1, int(t) * SECOND) for u, i, t in rows)
    write_package(tmp_path, bought, products({i: "ab"[i % 2] for i in range(30)}))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", 1)
    options = {
        "synthetic": {"synthetic": SMALL},
        "complete_journey": {},
        "interactions": {"path": tmp_path / "log.csv"},
        "amazon": {"raw_dir": tmp_path / "raw"},
    }[dataset]
    said: list[str] = []
    prepared = prepare(
        dataset, **options, split="global_time", data_dir=tmp_path / "data", report=said.append
    )
    train, validation, test = (
        list(prepared.as_dataset(split).as_numpy_iterator())
        for split in ("train", "validation", "test")
    )
    newest = max(row["timestamps"].max() for row in train)
    earliest = [min(row["target_timestamp"] for row in rows) for rows in (validation, test)]
    known = prepared.metadata
    assert newest < known["validation_start"] <= earliest[0]
    assert earliest[0] < known["test_start"] <= earliest[1]
    assert sum(len(row["items"]) for row in train) == prepared.catalogue.counts.sum()
    assert (len(validation), len(test)) == (known["validation_users"], known["evaluated_users"])
    assert known["settings"]["split"] == "global_time"
    assert any(f"{len(test):,} test targets" in line and "left out" in line for line in said)
    for text in (prepared.split_protocol, prepared.builder.info.description):
        assert "last 10 %" in text and "leave-one-out" not in text
    # A later call that finds it ready made knows the same.
    again = prepare(
        dataset, **options, split="global_time", data_dir=tmp_path / "data", report=None
    )
    assert again.name == prepared.name and again.metadata == prepared.metadata


def test_tfds_load(tmp_path):
    options = {"split": "global_time", "test_share": 0.2, **SMALL}
    dataset, info = tfds.load(
        "synthetic", data_dir=tmp_path, with_info=True, builder_kwargs=options
    )
    assert len(dataset["test"]) == info.metadata["evaluated_users"]
    assert "last 20 %" in info.description
