"""The best of a domain are those that sorting all of it gives, ties too."""

import numpy as np
import pytest
import tensorflow as tf

from serving.saved_model.index import BLOCK, best, domain_index


@pytest.mark.parametrize("items", [1, 50, 40 * BLOCK, 100 * BLOCK + 17])
@pytest.mark.parametrize("levels", [2, 30, 10**6])
def test_the_best_are_those_of_a_stable_sort(items, levels):
    """With hardly any different scores, too, where ties decide nearly everything."""
    rng = np.random.default_rng(items + levels)
    scores = rng.integers(-levels, levels, (7, items)).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in {1, min(9, items), min(24, items), items}:
        found, places = best(tf.constant(scores), tf.constant(k))
        np.testing.assert_array_equal(places, order[:, :k])
        np.testing.assert_array_equal(found, np.take_along_axis(scores, order[:, :k], axis=1))


def test_an_index_gives_ids_of_its_domain():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(70 * BLOCK + 3, 8)).astype(np.float32)
    queries = rng.normal(size=(5, 8)).astype(np.float32)
    scores, ids = domain_index(tf.constant(items), first_id=1000)(tf.constant(queries), k=12)
    order = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(ids, 1000 + order)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ items.T, order, 1), rtol=1e-5)


def test_no_rows_are_none():
    found, places = best(tf.zeros([0, 100 * BLOCK]), tf.constant(3))
    assert found.shape == places.shape == (0, 3)
