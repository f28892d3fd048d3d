"""Groups are those of literal loops and of planted cases, and their metrics add up."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf

from data_prep import Catalogue, prepare
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation import breakdown as breakdown_module
from tf_syncrec.evaluation.breakdown import (
    AGE_BINS,
    HISTORY_BINS,
    LENGTH_BINS,
    TargetGroups,
    breakdown,
    group_targets,
)
from tf_syncrec.evaluation.full_ranking import PopularityScorer, rank_split
from tf_syncrec.metrics.gains import rank_metrics, user_gains

DAY = 86_400.0
NUMBERS = ("share_of_hits", "hr@10", "ndcg@10", "error")
SIZES = (8, 3, 0, 9)


class Timed:
    """A `PreparedDataset` in memory. An event is `(item, timestamp)`; a target has a domain too."""

    def __init__(self, train, targets, sizes=SIZES):
        num_items = sum(sizes)
        items = np.concatenate([[item for item, _ in events] for events in train.values()])
        self.catalogue = Catalogue(
            tuple(f"domain {d}" for d in range(len(sizes))),
            np.arange(1, num_items + 1).astype(str).astype(object),
            np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            np.bincount(items.astype(int) - 1, minlength=num_items),
        )
        self.train, self.targets = train, targets

    def as_dataset(self, split):
        rows = [{"user_id": user, **self._columns(train)} for user, train in self.train.items()]
        if split != "train":
            rows = [
                {"user_id": user, **self._columns(history)}
                | {"target": item, "domain": domain, "target_timestamp": time}
                for user, (history, item, domain, time) in self.targets.items()
            ]
        kinds = {"user_id": tf.string, "items": tf.int32, "timestamps": tf.float64}
        kinds |= {"target": tf.int32, "domain": tf.int32, "target_timestamp": tf.float64}
        signature = {
            name: tf.TensorSpec([None] if name in ("items", "timestamps") else [], kinds[name])
            for name in rows[0]
        }
        return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)

    @staticmethod
    def _columns(events):
        items, times = [item for item, _ in events], [time for _, time in events]
        return {"items": np.array(items, np.int32), "timestamps": np.array(times, np.float64)}


def random_log(seed, users=120, per_day=DAY):
    """Many items on few days, so that pairs of all kinds occur; some repeat, some come in twos."""
    rng = np.random.default_rng(seed)
    train, targets = {}, {}
    domains = np.repeat(np.arange(4), SIZES)
    for number in range(users):
        user = f"user {number}".encode()

        def events(count):
            days = 15_000 + rng.integers(0, 4, count)
            times = np.sort((days + rng.random(count)) * per_day)
            return list(zip(rng.integers(1, sum(SIZES) + 1, count).tolist(), times, strict=True))

        trained = events(rng.integers(1, 14))
        twos = [(item + 1, time) for item, time in trained if item in (1, 12, 14)]
        train[user] = sorted(trained + twos, key=lambda event: event[1])
        history = train[user] + ([] if rng.random() < 0.3 else events(1))
        ((target, time),) = events(1)
        if rng.random() < 0.15:
            targets[user] = (history, 0, rng.integers(0, 4), time)
        else:
            targets[user] = (history, target, domains[target - 1], time)
    return Timed(train, targets)


def literal_groups(prepared, per_day=DAY):
    """`{user: {name: group}}`, by loops."""
    domains = [-1, *prepared.catalogue.item_domains.tolist()]
    users: dict[int, set] = {}
    together: dict[tuple, set] = {}
    for user, events in prepared.train.items():
        for item, _ in events:
            users.setdefault(item, set()).add(user)
        for (a, at), (b, bt) in combinations(events, 2):
            if a != b and domains[a] == domains[b] and at // per_day == bt // per_day:
                together.setdefault((min(a, b), max(a, b)), set()).add(user)
    twins = {
        pair: "close" if 2 * len(shared) >= min(len(users[item]) for item in pair) else "loose"
        for pair, shared in together.items()
        if len(shared) >= 2
    }
    trained = Counter(item for events in prepared.train.values() for item, _ in events)
    first: dict[int, float] = {}
    for events in prepared.train.values():
        for item, when in events:
            first[item] = min(when, first.get(item, when))
    counts = prepared.catalogue.counts.tolist()

    def popularity(target):
        if not target or not counts[target - 1]:
            return "never in training"
        rivals = [n for n, d in enumerate(domains[1:]) if d == domains[target] and counts[n]]
        before = sum((-counts[n], n) < (-counts[target - 1], target - 1) for n in rivals)
        part = (before + 0.5) / len(rivals)
        names = ("most popular 10 %", "next 40 %", "least popular 50 %")
        return names[(part > 0.1) + (part > 0.5)]

    found = {}
    for user, (history, target, domain, time) in prepared.targets.items():
        of_all = [label for label, least in HISTORY_BINS.items() if least <= len(history)]
        own = [(item, when) for item, when in history if domains[item] == domain]
        last = [domains[item] for item, _ in history[-1:]]
        near = {twins.get((min(item, target), max(item, target)), "no") for item, _ in history}
        found[user] = {
            "last_item": None if not last else ["other", "same"][last == [domain]] + " domain",
            "same_day": any(when // per_day == time // per_day for _, when in own),
            "near_duplicate": min(near | {"no"}, key=["close", "loose", "no"].index),
            "in_domain_history": label_of(len(own), LENGTH_BINS),
            "repeated": target in {item for item, _ in history},
            "cold": target == 0 or not trained[target],
            "candidate": target > 0,
            "item_age": "new"
            if not trained[target]
            else label_of(max(time // per_day - first[target] // per_day, 0), AGE_BINS),
            "history": of_all[-1],
            "popularity": popularity(target),
        }
    return found


def label_of(value, bins):
    """The last bin that begins at or below a value."""
    return [label for label, least in bins.items() if least <= value][-1]


def labels_of(targets):
    """`{user: {name: group}}` of what `group_targets` returned, yes and no as a truth value."""
    found: dict[bytes, dict] = {user: {} for user in targets.user_ids}
    for name, groups in targets.groups.items():
        table = np.stack(list(groups.values()))
        assert table.dtype == bool and (table.sum(axis=0) <= 1).all(), "in one group at most"
        for row, user in enumerate(targets.user_ids):
            label = next((group for group, members in groups.items() if members[row]), None)
            binary = list(groups) == ["yes", "no"]
            found[user][name] = label == "yes" if binary else label
    return found


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_literal_loops(seed):
    prepared = random_log(seed)
    expected = literal_groups(prepared)
    assert labels_of(group_targets(prepared, "test")) == expected
    for name, kinds in (
        ("last_item", 2),
        ("same_day", 2),
        ("near_duplicate", 3),
        ("repeated", 2),
        ("cold", 2),
    ):
        assert len({labels[name] for labels in expected.values()} - {None}) == kinds, name


@pytest.mark.parametrize("at_once", [3, 50])
def test_groups_do_not_depend_on_how_many_rows_are_read_at_once(monkeypatch, at_once):
    prepared = random_log(5, users=60)
    whole = labels_of(group_targets(prepared, "test"))
    monkeypatch.setattr(breakdown_module, "USERS_AT_ONCE", at_once)
    assert labels_of(group_targets(prepared, "test")) == whole == literal_groups(prepared)


@pytest.mark.parametrize("per_day", [1.0, DAY, DAY * 1e3, DAY * 1e6, DAY * 1e9])
def test_days_are_found_in_any_unit(per_day):
    prepared = random_log(6, users=60, per_day=per_day)
    assert labels_of(group_targets(prepared, "test")) == literal_groups(prepared, per_day)


# Items 1-8 are of domain 0, 9-11 of domain 1. Day 100 is the training of all who share items.
MANY = {f"shopper {n}".encode(): [(4, 90 * DAY + n), (5, 91 * DAY + n)] for n in range(6)}
CASES = {
    "last item of the same domain": ([(9, 1.0), (1, 2.0)], 3, 0, "last_item", "same domain"),
    "last item of another domain": ([(1, 1.0), (9, 2.0)], 3, 0, "last_item", "other domain"),
    "no history": ([], 3, 0, "last_item", None),
    "the day of an in-domain item": ([(1, 500 * DAY), (9, 3.0)], 3, 0, "same_day", True),
    "the first second of a day": ([(1, 500.99999 * DAY)], 3, 0, "same_day", True),
    "the last second of the day before": ([(1, 499.99999 * DAY)], 3, 0, "same_day", False),
    "the day of an item of another domain": ([(9, 500 * DAY)], 3, 0, "same_day", False),
    "bought with the target by two of two": ([(1, 1.0)], 2, 0, "near_duplicate", "close"),
    "the other way round": ([(2, 1.0)], 1, 0, "near_duplicate", "close"),
    "long ago in the history": ([(1, 1.0), *[(9, 2.0)] * 20], 2, 0, "near_duplicate", "close"),
    "the target itself": ([(1, 1.0)], 1, 0, "near_duplicate", "no"),
    "together once": ([(3, 1.0)], 4, 0, "near_duplicate", "no"),
    "by the same users on other days": ([(4, 1.0)], 5, 0, "near_duplicate", "no"),
    "on one day in two domains": ([(9, 1.0)], 1, 0, "near_duplicate", "no"),
    "two of the rarer item's five users": ([(6, 1.0)], 7, 0, "near_duplicate", "loose"),
    "a loose and a close one": ([(7, 1.0), (8, 1.0)], 6, 0, "near_duplicate", "close"),
    "one user twice": ([(10, 1.0)], 11, 1, "near_duplicate", "no"),
    "eleven in the domain": ([(1, 1.0)] * 11 + [(9, 1.0)], 3, 0, "in_domain_history", "11+"),
    "ten in the domain": ([(1, 1.0)] * 10, 3, 0, "in_domain_history", "6-10"),
    "none in the domain": ([(9, 1.0)] * 10, 3, 0, "in_domain_history", "0"),
    "never trained": ([(1, 1.0)], 0, 0, "cold", True),
    "trained": ([(1, 1.0)], 2, 0, "cold", False),
    "nothing knows it": ([(1, 1.0)], 0, 0, "candidate", False),
    "new": ([(1, 1.0)], 0, 0, "item_age", "new"),
}


@pytest.fixture(scope="module")
def planted():
    train = MANY | {
        b"a": [(1, 100 * DAY), (2, 100.5 * DAY), (9, 100 * DAY)],
        b"b": [(1, 200 * DAY), (2, 200.5 * DAY), (9, 200 * DAY), (3, 300 * DAY), (4, 300 * DAY)],
        b"c": [(3, 5 * DAY), (10, 6 * DAY), (11, 6 * DAY), (10, 7 * DAY), (11, 7 * DAY)],
        b"d": [(11, 9 * DAY), (10, 11 * DAY)],
    }
    for n in range(8):  # 6 and 7 have five users each, of whom two had both
        items = [6, 7] if n < 2 else [6] if n < 5 else [7]
        train[f"fan {n}".encode()] = [(item, 400 * DAY) for item in items]
    targets = {
        name.encode(): (history, target, domain, 500.5 * DAY)
        for name, (history, target, domain, _, _) in CASES.items()
    }
    train |= {f"pair {n}".encode(): [(6, 450 * DAY), (8, 450 * DAY)] for n in range(2)}
    return labels_of(group_targets(Timed(train, targets), "test"))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_planted_cases(planted, name):
    *_, group, expected = CASES[name]
    assert planted[name.encode()][group] == expected


def test_near_duplicates_may_be_left_out_and_nothing_else_changes():
    prepared = random_log(9)
    whole, without = (group_targets(prepared, "test", duplicates) for duplicates in (True, False))
    assert set(whole.groups) - set(without.groups) == {"near_duplicate"}
    for name, groups in without.groups.items():
        for group, members in groups.items():
            assert (members == whole.groups[name][group]).all()


def test_days_of_robots_make_no_duplicates(monkeypatch):
    train = {f"robot {n}".encode(): [(item, 5e8) for item in range(1, 9)] for n in range(2)}
    targets = {b"u": ([(1, 1.0)], 2, 0, 9e8)}
    for largest, expected in ((8, "close"), (7, "no")):
        monkeypatch.setattr(breakdown_module, "LARGEST_DAY", largest)
        labels = labels_of(group_targets(Timed(train, targets), "test"))  # type: ignore[arg-type]
        assert labels[b"u"]["near_duplicate"] == expected


def some_ranks(user_ids, seeds=1):
    return np.random.default_rng(0).integers(1, 31, (seeds, len(user_ids)))


def standard_error(ranks):
    """Of the mean over users, of what seeds say together."""
    gains = [user_gains(np.array(of_seed), "ndcg@10") for of_seed in ranks]
    users = len(gains[0])
    return np.std(np.mean(gains, axis=0), ddof=1) / np.sqrt(users) if users > 1 else 0.0


@pytest.mark.parametrize("seeds", [1, 3])
def test_breakdown_is_the_metrics_of_the_members(seeds):
    prepared = random_log(7)
    targets = group_targets(prepared, "test")
    order = np.random.default_rng(1).permutation(len(targets.user_ids))
    user_ids = targets.user_ids[order]
    ranks = some_ranks(user_ids, seeds)
    literal = literal_groups(prepared)
    ranks_of = [dict(zip(user_ids, of_seed.tolist(), strict=True)) for of_seed in ranks]
    found = breakdown(user_ids, ranks, targets)
    assert {name: list(groups) for name, groups in found.items()} == {
        name: list(groups) for name, groups in targets.groups.items()
    }
    for name, groups in found.items():
        for group, row in groups.items():
            wanted = group == "yes" if list(groups) == ["yes", "no"] else group
            members = [user for user in literal if literal[user][name] == wanted]
            rows = [rank_metrics(np.array([of[user] for user in members])) for of in ranks_of]
            shares = [
                sum(of[user] <= 10 for user in members) / sum(rank <= 10 for rank in of.values())
                for of in ranks_of
            ]
            assert row == {
                "users": len(members),
                "share_of_hits": pytest.approx(np.mean(shares)),
                "hr@10": pytest.approx(np.mean([each["hr@10"] for each in rows])),
                "ndcg@10": pytest.approx(np.mean([each["ndcg@10"] for each in rows])),
                "error": pytest.approx(
                    standard_error([[of[u] for u in members] for of in ranks_of])
                ),
            }
            assert {type(value) for value in row.values()} == {int, float}
        grouped = sum(labels[name] is not None for labels in literal.values())
        assert sum(row["users"] for row in groups.values()) == grouped
        assert sum(row["share_of_hits"] for row in groups.values()) == pytest.approx(1)


def test_without_hits_there_are_no_shares():
    users = np.array([b"a", b"b"], object)
    members = {"yes": np.array([True, True]), "no": np.array([False, False])}
    found = breakdown(users, np.array([[11, 500]]), TargetGroups(users, {"cold": members}))["cold"]
    assert found["yes"] == {"users": 2} | dict.fromkeys(NUMBERS, 0)
    assert found["no"] == {"users": 0} | dict.fromkeys(NUMBERS, 0)


@pytest.mark.parametrize("others", [[b"a", b"c"], [b"a"], [b"a", b"b", b"c"]])
def test_other_users_raise(others):
    targets = TargetGroups(np.array([b"a", b"b"], object), {})
    with pytest.raises(ValueError, match="must be of the same users"):
        breakdown(np.array(others, object), some_ranks(others), targets)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_prepared_dataset_is_broken_down(tmp_path_factory, split):
    """Joined with real ranks: cold targets and lengths as the ranking itself saw them."""
    sizes = {"users": 80, "items_per_domain": 80, "interactions_per_user": 9}
    folder = tmp_path_factory.getbasetemp() / "breakdown"
    prepared = prepare("synthetic", synthetic=sizes, data_dir=folder, report=None)
    batches = evaluation_batches(prepared, split, 32)
    scorer = PopularityScorer(prepared.catalogue.counts)
    ranks = rank_split(scorer, batches, prepared.catalogue)
    targets = group_targets(prepared, split)
    found = breakdown(ranks.user_ids, ranks.ranks[None], targets)
    cold = dict(zip(ranks.user_ids, ranks.cold, strict=True))
    assert [cold[user] for user in targets.user_ids] == targets.groups["cold"]["yes"].tolist()
    assert found["cold"]["yes"] == {"users": ranks.cold.sum()} | dict.fromkeys(NUMBERS, 0)
    ends = np.cumsum(ranks.history_lengths)
    domains = prepared.catalogue.item_domains[ranks.history_items[ends - 1] - 1]
    same = dict(zip(ranks.user_ids, domains == ranks.domains, strict=True))
    members = targets.groups["last_item"]["same domain"]
    assert [same[user] for user in targets.user_ids] == members.tolist()
    assert 0 < members.sum() < len(members)
    assert found["cold"]["yes"]["users"] > 0
