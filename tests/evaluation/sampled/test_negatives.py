"""Negatives are uniform over what a user may be shown, and depend on nothing but the user."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from data_prep import Catalogue
from tests.support.candidates import excluded
from tf_syncrec.evaluation.sampled import SAMPLED
from tf_syncrec.evaluation.sampled.negatives import SEED, _random_bits, draw_negatives

SIZES = (30, 5, 0, 40)
CATALOGUE = Catalogue(
    tuple("abcd"),
    np.array([f"i{i}" for i in range(1, 76)], object),
    np.repeat(np.arange(4, dtype=np.int32), SIZES),
    np.ones(75, np.int64),
)
REPEATING = replace(CATALOGUE, repeats=np.array([True, False, False, False]))
"""People come back to items of the first domain."""


def make_rows(users, seed=0, longest=60, domain=None, history=None, target=None):
    """Random users, with repeated items, empty and full histories, targets that are in them."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest, users)
    histories = [rng.integers(1, 76, length) for length in lengths]
    targets = rng.integers(0, 76, users)  # 0: never trained
    histories[0] = np.arange(1, 76)
    for user in range(1, users, 4):
        histories[user] = np.append(histories[user], targets[user])
    domains = np.append(rng.integers(4), CATALOGUE.item_domains)[targets]
    if history is not None:
        histories = [np.asarray(history)] * users
        domains, targets = np.full(users, domain), np.full(users, target)
    return {
        "user_id": tf.constant([f"üser {user}" for user in range(users)]),
        "domain": tf.constant(domains, tf.int32),
        "target": tf.constant(targets, tf.int32),
        "items": tf.ragged.constant([h[h > 0].tolist() for h in histories], tf.int32, 1),
    }


def allowed_items(protocol, rows, user, catalogue=CATALOGUE):
    """Literally: what may be drawn for a user, ascending."""
    domain = int(rows["domain"][user])
    history = {"items": rows["items"][user].numpy()}
    own = {*excluded(history, catalogue), int(rows["target"][user])}
    return [
        item
        for item in range(1, CATALOGUE.num_items + 1)
        if item not in own
        and (protocol == "sampled_all" or CATALOGUE.item_domains[item - 1] == domain)
    ]


def splitmix(state):
    """SplitMix64 in whole numbers without limits."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


def literal_draw(protocol, name, rows, user, count, catalogue):
    """Floyd's algorithm on a list, with Python's own numbers."""
    text = f"{name} {protocol} {SEED} ".encode() + rows["user_id"][user].numpy()
    numbers = splitmix(int(tf.strings.to_hash_bucket_fast([text], 2**63 - 1)[0]))
    allowed = allowed_items(protocol, rows, user, catalogue)
    chosen = set()
    for last in range(len(allowed) - count, len(allowed)):
        number = next(numbers)
        if last >= 0:
            drawn = number % (last + 1)
            chosen.add(last if drawn in chosen else drawn)
    return [allowed[place] for place in sorted(chosen)]


def test_random_numbers_are_those_of_splitmix():
    # Of Vigna's reference implementation, seed 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert list(itertools.islice(splitmix(1234567), 3)) == published
    keys = np.array([1234567, 2**64 - 1], np.uint64)
    received = np.array([_random_bits(keys, step) for step in range(100)])
    assert received[:3, 0].tolist() == published
    assert received[:, 1].tolist() == list(itertools.islice(splitmix(2**64 - 1), 100))


@pytest.mark.parametrize("protocol", SAMPLED)
@pytest.mark.parametrize("count", [1, 7, 25, 100])
@pytest.mark.parametrize("catalogue", [CATALOGUE, REPEATING], ids=["never", "repeating"])
def test_negatives_are_those_of_a_literal_draw(protocol, count, catalogue):
    rows = make_rows(60)
    drawn = draw_negatives(protocol, "data test", rows, catalogue, count)
    assert drawn.shape == (60, count) and drawn.dtype == np.int32
    fewer = 0
    for user, items in enumerate(drawn):
        expected = literal_draw(protocol, "data test", rows, user, count, catalogue)
        np.testing.assert_array_equal(items, [0] * (count - len(expected)) + expected)
        # The promise itself, whatever the algorithm.
        allowed = allowed_items(protocol, rows, user, catalogue)
        assert set(expected) <= set(allowed)
        assert len(set(expected)) == min(count, len(allowed))
        fewer += len(allowed) < count
    assert 0 < fewer < 60 or count == 100 or catalogue is REPEATING


@pytest.mark.parametrize("protocol", SAMPLED)
def test_every_item_is_as_likely(protocol):
    """Inclusion counts against chi-square; k of m without replacement vary less by 1 - k/m."""
    users, count = 20_000, 12
    rows = make_rows(users, domain=3, history=[1, 2, 40, 40, 41, 60, 75], target=50)
    allowed = allowed_items(protocol, rows, 0)
    assert len(allowed) == (35 if protocol == "sampled_domain" else 68)
    drawn = draw_negatives(protocol, "data test", rows, CATALOGUE, count)
    counts = np.bincount(drawn.ravel(), minlength=76)
    assert counts[allowed].sum() == counts.sum() == users * count
    share = count / len(allowed)
    statistic = ((counts[allowed] - users * share) ** 2).sum() / (users * share * (1 - share))
    statistic *= (len(allowed) - 1) / len(allowed)
    assert 1e-3 < scipy.stats.chi2.sf(statistic, len(allowed) - 1) < 1 - 1e-3


def test_every_subset_is_as_likely():
    users = 20_000
    rows = make_rows(users, domain=1, history=[31], target=0)  # 4 of 5 items are left
    rows["items"] = tf.concat([rows["items"], tf.fill([users, 1], 3)], axis=1)
    drawn = draw_negatives("sampled_domain", "data test", rows, CATALOGUE, 2)
    subsets, counts = np.unique(drawn, axis=0, return_counts=True)
    assert [tuple(s) for s in subsets] == list(itertools.combinations(range(32, 36), 2))
    assert 1e-3 < scipy.stats.chisquare(counts).pvalue < 1 - 1e-3


@pytest.mark.parametrize("protocol", SAMPLED)
def test_a_users_negatives_do_not_depend_on_the_others(protocol):
    rows = make_rows(50)
    whole = draw_negatives(protocol, "data test", rows, CATALOGUE, 9)
    order = np.random.default_rng(1).permutation(50)
    for part in np.array_split(order, 7):
        some = {name: tf.gather(column, part) for name, column in rows.items()}
        received = draw_negatives(protocol, "data test", some, CATALOGUE, 9)
        np.testing.assert_array_equal(received, whole[part])


def test_dataset_split_and_protocol_give_other_negatives():
    # An empty history and a single domain, so that nothing else could make a difference.
    rows = make_rows(200, domain=0, history=[], target=0)
    catalogue = Catalogue(("a",), CATALOGUE.item_ids, np.zeros(75, np.int32), np.ones(75, np.int64))
    draws = [
        draw_negatives(protocol, name, rows, catalogue, 20)
        for protocol, name in (
            *((p, "data test") for p in SAMPLED),
            (SAMPLED[0], "data validation"),
        )
    ]
    for one, other in itertools.combinations(draws, 2):
        shared = [len({*a} & {*b}) for a, b in zip(one, other, strict=True)]
        assert np.mean(shared) == pytest.approx(20 * 20 / 75, abs=0.6)  # as of independent draws
    np.testing.assert_array_equal(
        draws[0], draw_negatives(SAMPLED[0], "data test", rows, catalogue, 20)
    )
