"""The packed single view is |D| separate left-padded single-domain passes (paper 4.1, Fig. 2)."""

import datetime

import numpy as np
import pytest
import tensorflow as tf

from tests.support.times import random_times
from tf_syncrec.layers import (
    View,
    check_histories,
    check_queries,
    group_by_domain,
    item_domains,
    split_views,
)
from tf_syncrec.layers.times.clock import ELAPSED
from tf_syncrec.layers.times.moments import INPUTS

A, B, C = 1, 10, 20  # first item of each domain
OFFSETS = tf.constant([A, B, C])
SOS = -1
# Fig. 2: x1^A x2^B x3^A x4^B x5^A x6^C x7^C, and x8^B to be predicted.
FIGURE_2 = np.array([[A, B, A + 1, B + 1, A + 2, C, C + 1, B + 2]], np.int32)


def told(own, before, due):
    """Codes of a slot by hand: times in seconds or None; `own` is None at a start token."""

    def codes(time, last):
        if time is None:
            return [0, 0, 0]
        at = datetime.datetime.fromtimestamp(time, datetime.UTC)
        gap = 1 if last is None else 2 + sum(time - last >= begin for begin in ELAPSED)
        return [gap, 1 + at.hour, 1 + at.weekday()]

    return [codes(own, before), codes(due, own)]


def separate_passes(items, sizes, window, times):
    """One left-padded view a user and domain, by hand.

    Returns:
        `(view, owners)`; `owners[row] = (user, domain, slots)`, slots of its targets in the merged
        window, counted from the right (-1 = last).
    """
    first = 1 + np.cumsum(sizes) - np.asarray(sizes)
    domain = {0: -1} | {
        int(f) + i: d for d, (f, n) in enumerate(zip(first, sizes, strict=True)) for i in range(n)
    }
    tokens: list[list[int]] = []
    domains, masks, owners, when = [], [], [], []
    for user, row in enumerate(items):
        merged = [SOS, *(int(x) for x in row if x)][-(window + 1) :]
        moments = [None, *(t for t, x in zip(times[user].tolist(), row, strict=True) if x)]
        moments = moments[-(window + 1) :]
        for d in range(len(sizes)):
            slots = [t for t in range(1, len(merged)) if domain[merged[t]] == d]
            if not slots:
                continue
            starts_inside = merged[0] != SOS and domain[merged[0]] == d
            sequence = [merged[0] if starts_inside else -2 - d] + [merged[t] for t in slots]
            inputs = sequence[:-1]
            at = [moments[0] if starts_inside else None] + [moments[t] for t in slots]
            before = [None, *at]
            said = [told(*three) for three in zip(at[:-1], before, at[1:], strict=False)]
            padding = window - len(inputs)
            real = np.arange(window) >= padding
            tokens.append([0] * padding + inputs)
            domains.append(np.where(real, d, -1))
            masks.append(
                np.tril(np.ones((window, window), bool)) & real | np.eye(window, dtype=bool)
            )
            owners.append((user, d, [t - len(merged) for t in slots]))
            when.append([told(None, None, None)] * padding + said)
    view = View(
        tf.constant(tokens, tf.int32),
        tf.constant(np.array(domains), tf.int32),
        tf.constant([[row] * window for row in range(len(tokens))]),
        tf.tile(tf.range(window)[None], [len(tokens), 1]),
        tf.constant(np.array(masks)),
        tf.constant(when),
    )
    return view, owners


SHAPES = {
    "two domains": ((4, 3), [8, 3, 1]),
    "three domains": ((5, 4, 3), [6, 7, 2, 12]),
    "a domain without items": ((5, 0, 3), [9, 4]),
    "eight domains": ((2, 3, 1, 2, 4, 1, 2, 3), [5, 14, 7]),
    "one domain": ((9,), [7, 3]),
}


@pytest.mark.parametrize("gate", ["sequence", "causal"])
@pytest.mark.parametrize(("sizes", "lengths"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_packed_view_equals_separate_passes(
    sizes, lengths, gate, seed, make_model, make_items, representations
):
    inputs = INPUTS if seed else ()
    model = make_model(
        sizes, seed, gate=gate, style=["paper", "pre_norm"][seed], time_inputs=list(inputs)
    )
    window = model.window
    # The second user knows one domain only.
    domains: list[list[int]] = [[d for d, size in enumerate(sizes) if size] for _ in lengths]
    domains[1] = domains[1][-1:]
    items = make_items(lengths, sizes, seed, domains)
    times = random_times(items, seed)
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(len(lengths), window, 8)).astype(np.float32)

    weights = [*model.embedding.trainable_weights, *model.acmoe.trainable_weights]
    with tf.GradientTape() as tape:
        packed = representations(model, items, times)[1]
        objective = tf.reduce_sum(packed * direction[:, -packed.shape[1] :])
    packed_gradients = tape.gradient(objective, weights)

    with tf.GradientTape() as tape:
        view, owners = separate_passes(items, sizes, window, times)
        blocks = group_by_domain(view.domains, len(sizes))
        y = model.acmoe.single(model.embedding(view), view, blocks)
        y = blocks.scatter(y, view.domains.shape)
        objective, seen = tf.zeros([]), 0
        for row, (user, _, slots) in enumerate(owners):
            own = y[row, -len(slots) :]
            received = tf.gather(packed[user], [s + packed.shape[1] for s in slots])
            np.testing.assert_allclose(received, own, rtol=1e-5, atol=1e-5)
            objective += tf.reduce_sum(own * direction[user][slots])
            seen += len(slots)
    gradients = tape.gradient(objective, weights)
    assert seen == sum(min(length, window) for length in lengths)

    for weight, a, b in zip(weights, gradients, packed_gradients, strict=True):
        assert (a is None) == (b is None), weight.path
        if a is not None:
            np.testing.assert_allclose(
                tf.convert_to_tensor(b),
                tf.convert_to_tensor(a),
                rtol=1e-3,
                atol=2e-5,
                err_msg=weight.path,
            )


def test_figure_2_in_training():
    cross, single = split_views(FIGURE_2, None, OFFSETS, window=10)
    assert cross.tokens.numpy().tolist() == [[-1, A, B, A + 1, B + 1, A + 2, C, C + 1]]
    assert cross.domains.numpy().tolist() == [[0, 1, 0, 1, 0, 2, 2, 1]]
    assert cross.positions.numpy().tolist() == [[2, 3, 4, 5, 6, 7, 8, 9]]
    # X^A = (SOS) x1 x3, X^B = (SOS) x2 x4, X^C = (SOS) x6, each before the item it predicts.
    assert single.tokens.numpy().tolist() == [[-2, -3, A, B, A + 1, -4, C, B + 1]]
    assert single.domains.numpy().tolist() == cross.domains.numpy().tolist()
    assert single.positions.numpy().tolist() == [[7, 7, 8, 8, 9, 8, 9, 9]]


def test_figure_2_in_prediction():
    queries = np.array([[0, 1, 2]], np.int32)
    cross, single = split_views(FIGURE_2[:, :-1], queries, OFFSETS, window=10)
    # "We input X = [(SOS), x1^A, x2^B, x3^A, x4^B, x5^A, x6^C, x7^C]"
    assert cross.tokens.numpy().tolist() == [[-1, A, B, A + 1, B + 1, A + 2, C, C + 1]]
    assert single.tokens.numpy().tolist() == [[-2, -3, A, B, A + 1, -4, C, A + 2, B + 1, C + 1]]
    assert single.domains.numpy().tolist() == [[0, 1, 0, 1, 0, 2, 2, 0, 1, 2]]
    assert single.positions.numpy().tolist() == [[6, 7, 7, 8, 8, 7, 8, 9, 9, 9]]


def test_the_latest_inputs_of_a_history_are_what_the_window_holds():
    cross, _ = split_views(FIGURE_2, np.array([[0]], np.int32), OFFSETS, window=3)
    assert cross.tokens.numpy().tolist() == FIGURE_2[:, -3:].tolist()
    cross, _ = split_views(FIGURE_2, None, OFFSETS, window=3)
    assert cross.tokens.numpy().tolist() == FIGURE_2[:, -4:-1].tolist()


@pytest.mark.parametrize("length", [1, 3, 4, 5, 9])
def test_no_slot_sees_its_target_or_anything_later(length, make_items):
    items = make_items([length, max(1, length - 2)], seed=length)
    offsets = tf.constant([1, 6, 10])
    for view in split_views(items, None, offsets, window=4):
        slots = view.tokens.shape[1]
        assert slots == min(length, 4)
        targets = items[:, -slots:]
        np.testing.assert_array_equal(view.domains, item_domains(targets, offsets))
        mask = view.mask.numpy()
        np.testing.assert_array_equal(mask, np.tril(mask))
        assert mask.diagonal(axis1=1, axis2=2).all()
        real = targets > 0
        sees_padding = mask & ~real[:, None, :] & ~np.eye(slots, dtype=bool)
        assert not sees_padding.any()
        np.testing.assert_array_equal(view.tokens.numpy() == 0, ~real)
        assert view.positions.numpy().min() >= 0
        assert view.positions.numpy().max() == 3


def test_single_view_never_crosses_domains(make_items):
    offsets = tf.constant([1, 6, 10])
    items = make_items([7, 5, 9])
    _, view = split_views(items, None, offsets, window=8)
    domains, mask = view.domains.numpy(), view.mask.numpy()
    crossing = mask & (domains[:, :, None] != domains[:, None, :])
    assert not crossing.any()
    tokens = view.tokens.numpy()
    origin = np.where(tokens < 0, -2 - tokens, item_domains(tokens, offsets))
    np.testing.assert_array_equal(origin[domains >= 0], domains[domains >= 0])


def test_item_domains_with_empty_domains():
    offsets = tf.constant([1, 1, 4, 4, 6])  # sizes 0, 3, 0, 2, 0
    items = tf.constant([[0, 1, 3], [4, 5, 0]])
    assert item_domains(items, offsets).numpy().tolist() == [[-1, 1, 1], [3, 3, -1]]


@pytest.mark.parametrize("block_size", [1, 3, 64])
def test_blocks_hold_every_slot_once_and_only_their_own_domain(block_size):
    rng = np.random.default_rng(block_size)
    domains = rng.choice([-1, 0, 2, 3], size=(7, 9), p=[0.2, 0.5, 0.25, 0.05]).astype(np.int32)
    blocks = group_by_domain(domains, 5, block_size)
    slots, mask = blocks.slots.numpy(), blocks.mask.numpy()
    assert sorted(slots[mask]) == np.flatnonzero(domains >= 0).tolist()
    owners = np.broadcast_to(blocks.domains.numpy()[:, None], slots.shape)
    np.testing.assert_array_equal(domains.reshape(-1)[slots[mask]], owners[mask])

    x = rng.normal(size=(7, 9, 2)).astype(np.float32)
    back = blocks.scatter(blocks.gather(x), tf.shape(domains))
    np.testing.assert_array_equal(back, np.where((domains >= 0)[..., None], x, 0))
    sums = blocks.sum_by_domain(blocks.gather(x)[..., 0], 5)
    expected = [x[domains == d, 0].sum() for d in range(5)]
    np.testing.assert_allclose(sums, expected, rtol=1e-5, atol=1e-6)


HISTORIES = {
    "empty": np.zeros((2, 0), np.int32),
    "nobody": np.zeros((0, 3), np.int32),
    "new and full": np.array([[0, 0, 0], [0, 12, 1], [3, 3, 3]], np.int32),
    "of int64": np.array([[0, 5]]),
}


@pytest.mark.parametrize("items", HISTORIES.values(), ids=HISTORIES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_histories_pass_as_they_are(items, in_graph):
    check = tf.function(check_histories) if in_graph else check_histories
    np.testing.assert_array_equal(check(items, 12), items)


@pytest.mark.parametrize("row", [[1, 2, 0], [1, 0, 2], [0, 13, 1], [0, -1, 1], [12, 0, 0]])
@pytest.mark.parametrize("in_graph", [False, True])
def test_what_is_no_history_is_refused(row, in_graph):
    check = tf.function(check_histories) if in_graph else check_histories
    shown = ", ".join(map(str, row)) if not in_graph else " ".join(map(str, row))
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"left only, .*1 to 12.*\\s.*{shown}"):
        check(tf.constant([[0, 1, 2], row, row[::-1]]), 12)


@pytest.mark.parametrize("in_graph", [False, True])
def test_queries_are_different_domains_that_there_are(in_graph):
    check = tf.function(check_queries) if in_graph else check_queries
    for fine in ([[0, 1, 2], [2, 0, 1]], [[1], [1]], np.zeros((2, 0), np.int32)):
        np.testing.assert_array_equal(check(tf.constant(fine), 3), fine)
    for row in ([1, 0, 1], [2, 2, 0], [0, 1, 3], [-1, 0, 1]):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"from 0 to 2, each at most once"):
            check(tf.constant([[0, 1, 2], row]), 3)
