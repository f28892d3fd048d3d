"""The pipeline, against a slow literal reading of its own description."""

import collections
import contextlib
import hashlib
import random

import numpy as np
import pyarrow as pa
import pytest

from data_prep.engines.connection import connect
from data_prep.errors import InputError
from data_prep.pipeline.k_core import Core
from data_prep.pipeline.sequences import build_sequences
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION, GlobalTime, LeaveOneOut
from data_prep.pipeline.user_histories import read
from tests.support.histories import histories


def table_of(rows):
    users, items, domains, times = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": list(users),
            "item_id": list(items),
            "domain": list(domains),
            "timestamp": pa.array([float(t) for t in times]),
        }
    )


def run(rows, k=1, threads=None, batch_rows=200_000):
    """Runs the pipeline; returns its splits as plain values, and the catalogue."""
    with connect(threads=threads) as engine:
        table = engine.table(table_of(rows))
        built = build_sequences(engine, table, Core(k), batch_rows=batch_rows)
        splits = [histories(built, role) for role in (TRAIN, VALIDATION, TEST)]
        return splits, built.catalogue


def reference(rows, k=1):
    """Steps 1 to 6, written as they read."""
    listed: dict = collections.defaultdict(collections.Counter)
    for _, item, domain, _ in rows:
        listed[item][domain] += 1
    owner = {i: min(c, key=lambda d: (-c[d], d)) for i, c in listed.items()}
    events = {(u, i, float(t)) for u, i, _, t in rows}
    while True:
        by_user = collections.Counter(u for u, _, _ in events)
        by_item = collections.Counter(i for _, i, _ in events)
        kept = {e for e in events if by_user[e[0]] >= k and by_item[e[1]] >= k}
        if kept == events:
            break
        events = kept
    users = collections.defaultdict(list)
    for user, item, time in events:
        tie = hashlib.md5(f"{user}\x1f{item}".encode()).hexdigest()
        users[user].append((time, tie, item))
    domains = sorted({owner[i] for _, i, _ in events})
    train = {}
    for user, seen in users.items():
        seen.sort()
        train[user] = seen[:-2] if len(seen) >= 3 else seen
    counts = collections.Counter(i for seen in train.values() for _, _, i in seen)
    known = sorted(counts, key=lambda i: (owner[i], -counts[i], i))
    ids = {item: n + 1 for n, item in enumerate(known)}

    def coded(seen):
        return [(i, ids.get(i, 0), t, domains.index(owner[i])) for t, _, i in seen]

    splits = [{u: coded(s) for u, s in train.items()}, {}, {}]
    for user, seen in users.items():
        if len(seen) >= 3:
            everything = coded(seen)
            for split, target in ((1, -2), (2, -1)):
                past = [e for e in everything[:target] if e[1] > 0]
                splits[split][user] = [*past, everything[target]]
    return splits, known, domains, [counts[i] for i in known]


def random_log(seed, users=30, items=25, rows=260):
    rng = random.Random(seed)
    names = ["b", "a", "c", "Ä", "a b"]
    home = {f"i{n}": rng.choice(names) for n in range(items)}
    log = []
    for _ in range(rows):
        item = f"i{rng.randrange(items)}"
        domain = rng.choice(names) if rng.random() < 0.15 else home[item]
        log.append((f"u{rng.randrange(users)}", item, domain, rng.randrange(12) / 4))
    return log + rng.choices(log, k=20)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_literal_reading(seed, k):
    rows = random_log(seed)
    splits, catalogue = run(rows, k)
    expected, known, domains, counts = reference(rows, k)
    assert splits == expected
    assert catalogue.item_ids.tolist() == known
    assert list(catalogue.domains) == domains
    assert catalogue.counts.tolist() == counts


@pytest.mark.parametrize("split", [LeaveOneOut(), GlobalTime(0.2, 0.3)])
@pytest.mark.parametrize("role", [VALIDATION, TEST])
def test_a_basket_is_all_of_the_moment_and_the_domain(split, role):
    """But for the test target, of which validation knows nothing."""
    rows = [row for seed in range(3) for row in random_log(seed)]
    with connect() as engine:
        built = build_sequences(engine, engine.table(table_of(rows)), split=split)
        expected = {}
        for some in read(built.path):
            roles, bounds = built.assign(some), some.starts.tolist()
            for user, begin, end in zip(
                some.user_ids.to_pylist(), bounds, bounds[1:], strict=False
            ):
                events = [
                    (int(item), time, kind)
                    for item, time, kind in zip(
                        some.items[begin:end],
                        some.timestamps[begin:end],
                        roles[begin:end],
                        strict=True,
                    )
                ]
                for target, moment, kind in events:
                    if kind == role:
                        expected[user] = sorted(
                            int(built.ids[item])
                            for item, time, other in events
                            if time == moment
                            and built.item_domains[item] == built.item_domains[target]
                            and not (role == VALIDATION and other == TEST)
                        )
        found = {
            user: sorted(some.baskets[begin:end].tolist())
            for some in built.rows(role)
            for user, begin, end in zip(
                some.user_ids.to_pylist(), some.basket_starts, some.basket_starts[1:], strict=False
            )
        }
        assert found == expected
        assert max(map(len, found.values())) > 1
        assert not any(len(some.baskets) for some in built.rows(TRAIN))


@pytest.mark.parametrize("rule", [(1, 5, 1), (1, 2, 4), (7, 3, 3), (1, 1, 6)])
def test_users_of_several_domains_stay(rule):
    k, domains, least = rule
    rows = [row for seed in range(2) for row in random_log(seed, items=40)]
    with connect() as engine:
        built = build_sequences(engine, engine.table(table_of(rows)), Core(*rule))
        kept = {
            (user, built.item_ids[item].as_py(), time)
            for some in read(built.path)
            for user, item, time in zip(
                some.user_ids.take(pa.array(some.owners)).to_pylist(),
                some.items.tolist(),
                some.timestamps.tolist(),
                strict=True,
            )
        }
    listed: dict = collections.defaultdict(collections.Counter)
    for _, item, domain, _ in rows:
        listed[item][domain] += 1
    owner = {i: min(c, key=lambda d: (-c[d], d)) for i, c in listed.items()}
    events = {(u, i, float(t)) for u, i, _, t in rows}
    everything, before = len(events), None
    while events != before:
        before = events
        places = collections.Counter((u, owner[i]) for u, i, _ in events)
        wide = collections.Counter(u for (u, _), count in places.items() if count >= least)
        by_user = collections.Counter(u for u, _, _ in events)
        by_item = collections.Counter(i for _, i, _ in events)
        events = {
            e for e in events if by_user[e[0]] >= k and by_item[e[1]] >= k and wide[e[0]] >= domains
        }
    assert kept == events and 0 < len(events) < everything


def test_row_order_threads_and_batches_do_not_show():
    rows = random_log(7)
    splits, catalogue = run(rows)
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    for threads, batch_rows in ((1, 200_000), (2, 3), (2, 1)):
        again, other = run(shuffled, threads=threads, batch_rows=batch_rows)
        assert again == splits
        assert [list(s) for s in again] == [list(s) for s in splits], "the order of users"
        assert other.item_ids.tolist() == catalogue.item_ids.tolist()


def test_ids_are_contiguous_by_domain_and_from_training_rows_only():
    splits, catalogue = run(random_log(3))
    trained = {item for events in splits[0].values() for item, *_ in events}
    assert set(catalogue.item_ids.tolist()) == trained
    for domain, (offset, size) in enumerate(zip(catalogue.offsets, catalogue.sizes, strict=True)):
        assert (catalogue.item_domains[offset - 1 : offset - 1 + size] == domain).all()
        inside = catalogue.counts[offset - 1 : offset - 1 + size]
        assert (np.diff(inside) <= 0).all(), "most frequent first"
    assert catalogue.sizes.sum() == catalogue.num_items


def test_targets_that_nobody_trained_are_counted():
    last = [(f"u{user}", f"only {user}'s", "d", 99.0) for user in range(3)]
    with connect() as engine:
        built = build_sequences(engine, engine.table(table_of(random_log(3) + last)))
        targets = np.concatenate([rows.targets for rows in built.rows(TEST)])
    unseen = np.count_nonzero(targets == 0)
    assert 3 <= unseen < len(targets) / 2
    assert built.statistics["unknown_test_targets"] == unseen


def test_a_domain_without_trained_items_is_kept():
    rows = [("u", "a1", "a", 1), ("u", "a2", "a", 2), ("u", "z1", "z", 3)]
    _, catalogue = run(rows)
    assert catalogue.domains == ("a", "z")
    assert catalogue.sizes.tolist() == [1, 0]
    assert catalogue.offsets.tolist() == [1, 2]


def test_ties_follow_neither_item_id_nor_domain():
    rows = [
        (f"u{u}", f"{d}{n}", d, 1.0)
        for u in range(300)
        for d, n in (("a", u % 7), ("b", u % 5), ("c", u % 3))
    ]
    splits, _ = run(rows)
    last = collections.Counter(events[-1][0][0] for events in splits[2].values())
    assert min(last[d] for d in "abc") > 70, f"a domain comes last too seldom: {last}"
    firsts = [events[0][0] < events[-1][0] for events in splits[2].values()]
    assert 0.35 < np.mean(firsts) < 0.65


def test_a_target_is_in_the_users_training_row_only_when_repeated():
    rows = random_log(11)
    splits, _ = run(rows)
    times = collections.defaultdict(set)
    for user, item, _, time in rows:
        times[user, item].add(time)
    for split in splits[1:]:
        for user, events in split.items():
            item = events[-1][0]
            if item in [e[0] for e in splits[0][user]]:
                assert len(times[user, item]) > 1


def test_short_users_train_and_are_not_evaluated():
    rows = [("long", f"i{n}", "ab"[n % 2], n) for n in range(3)]
    rows += [("two", "i0", "a", 1), ("two", "i1", "b", 2), ("one", "i2", "a", 1)]
    splits, _ = run(rows)
    assert {user: len(events) for user, events in splits[0].items()} == {
        "long": 1,
        "two": 2,
        "one": 1,
    }
    assert set(splits[1]) == set(splits[2]) == {"long"}


def test_stored_times_are_what_was_read():
    """Also shortly before 1970, where a second and what is missing to it would lose digits."""
    nanos = [-1_500_000_000, -122, 0, 4864, 1_704_448_800_123_456_789]
    rows = [("u", f"i{n}", "ab"[n % 2], n) for n in range(len(nanos))]
    table = table_of(rows).set_column(3, "timestamp", pa.array(nanos))
    with connect(threads=1) as engine:
        built = build_sequences(engine, engine.table(table), ticks=10**9)
        (read_back,) = built.rows(TEST)
        stored = [*read_back.timestamps.tolist(), *read_back.target_timestamps.tolist()]
    # Of an item that never trained there is none in a history.
    assert stored == [time / 10**9 for time in [*nanos[:3], nanos[4]]]


def test_fifty_domains():
    rows = [(f"u{u}", f"i{(u * 7 + n) % 200}", "", n) for u in range(120) for n in range(6)]
    rows = [(u, i, f"d{int(i[1:]) % 50:02d}", t) for u, i, _, t in rows]
    splits, catalogue = run(rows)
    assert catalogue.num_domains == 50
    assert splits == reference(rows)[0]


@pytest.mark.parametrize(
    ("rows", "k", "message"),
    [
        ([("u", f"i{n}", "books", n) for n in range(5)], 1, "one domain only.*'books'"),
        ([("u", "i", "a", 1), ("v", "j", "b", 2)], 1, "None of the 2 users has 3"),
        ([("u", f"i{n}", "ab"[n % 2], n) for n in range(5)], 3, "min_interactions"),
    ],
)
def test_unusable_logs_are_named(rows, k, message):
    with pytest.raises(InputError, match=message):
        run(rows, k)


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with contextlib.suppress(RuntimeError), connect():
        assert list(tmp_path.iterdir())
        raise RuntimeError
    assert not list(tmp_path.iterdir())
