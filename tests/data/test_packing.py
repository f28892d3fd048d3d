"""Packed rows: nothing lost, little wasted, and the same losses and gradients as one row each."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.batches import sequences_of
from tests.support.gradients import assert_same_gradients
from tests.support.times import random_times
from tf_syncrec.data.packing import first_fit, pack
from tf_syncrec.layers import split_views

LENGTHS = {
    "all sizes": [9, 1, 4, 2, 6, 3, 5, 2, 7],
    "one row for all": [1, 2, 1],
    "a row each": [8, 7, 9],
    "single items": [1] * 11,
}


@pytest.mark.parametrize("seed", range(4))
def test_first_fit_overlaps_nowhere_and_leaves_no_room_it_could_use(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 51, 128)
    rows, starts = first_fit(lengths, 50)
    used = np.zeros((rows.max() + 1, 50), int)
    for row, start, length in zip(rows, starts, lengths, strict=True):
        used[row, start : start + length] += 1
        assert start + length <= 50
    assert used.max() == 1 and used.sum() == lengths.sum()
    # Two rows whose contents would fit into one would have been one.
    loads = np.sort(used.sum(axis=1))
    assert len(loads) < 2 or loads[0] + loads[1] > 50
    assert len(loads) <= 11 / 9 * np.ceil(lengths.sum() / 50) + 1


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_packing_keeps_every_sequence(lengths, make_items):
    items = make_items(lengths, seed=1)
    packed, segments = pack(items, window=6)
    found = sequences_of({"items": packed, "segments": segments}, 6)
    kept = [tuple(row[row > 0][-7:].tolist()) for row in items]
    assert found == kept


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gate": "sequence", "style": "paper"},
        {"reduction": "sum", "contrast": "others"},
        {"rho": "bilinear", "gap": "sum", "time_inputs": ["gap", "hour", "weekday"]},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "lengths",
    [LENGTHS["all sizes"], pytest.param(LENGTHS["one row for all"], marks=pytest.mark.slow)],
    ids=len,
)
def test_losses_and_gradients_are_those_of_a_row_each(
    settings, lengths, make_model, make_items, same_negatives
):
    model = make_model(window=6, **settings)
    items = make_items(lengths, seed=2)
    times = random_times(items, seed=2)
    packed, segments, packed_times = pack(items, 6, times)
    assert len(packed) < len(items)
    results = []
    for batch in (
        {"items": items, "timestamps": times},
        {"items": packed, "segments": segments, "timestamps": packed_times},
    ):
        with tf.GradientTape() as tape:
            losses = model.batch_losses(**batch, training=False)
        results.append((losses, tape.gradient(losses.total, model.trainable_weights)))
    (expected, expected_gradients), (received, gradients) = results
    for name in expected._fields:
        np.testing.assert_allclose(
            getattr(received, name), getattr(expected, name), rtol=1e-5, atol=1e-6, err_msg=name
        )
    assert_same_gradients(model, expected_gradients, gradients)


def test_a_sequence_does_not_know_its_neighbours(make_items):
    """Items of another sequence may change: neither view of this one does."""
    items = make_items([3, 2, 1], seed=3)
    packed, segments = (x.numpy() for x in pack(items, 6))
    assert packed.shape == (1, 7)
    offsets = tf.constant([1, 6, 10])
    before = split_views(packed, None, offsets, 6, segments)
    packed[segments == 1] = 12
    after = split_views(packed, None, offsets, 6, segments)
    for a, b in zip(before, after, strict=True):
        own = a.segments.numpy() == 0
        for name in ("tokens", "domains", "positions"):
            np.testing.assert_array_equal(getattr(a, name)[own], getattr(b, name)[own])
        seen = b.mask.numpy()[own][:, ~own[0]]
        assert own.any() and not seen.any()
