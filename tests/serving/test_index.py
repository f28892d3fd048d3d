"""The best of a domain are those that sorting all of it gives, ties too."""

import numpy as np
import pytest
import tensorflow as tf

from serving.saved_model.index import BLOCK, ItemIndex, best


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


@pytest.mark.parametrize("domain", [0, 2])
def test_an_index_gives_ids_of_its_domain(domain):
    rng = np.random.default_rng(0)
    sizes = [70 * BLOCK + 3, 0, 40]
    items = rng.normal(size=(sum(sizes), 7)).astype(np.float32)
    queries = rng.normal(size=(5, 7)).astype(np.float32)
    index = ItemIndex(tf.constant(items), sizes)
    scores, ids = index(tf.constant(queries), tf.constant(domain), tf.constant(12))
    first = sum(sizes[:domain])
    expected = queries @ items[first : first + sizes[domain]].T
    order = np.argsort(-expected, axis=1, kind="stable")[:, :12]
    np.testing.assert_array_equal(ids, 1 + first + order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), rtol=1e-5)
    np.testing.assert_allclose(index.scores(tf.constant(queries), domain), expected, atol=1e-5)
    np.testing.assert_allclose(index.scores_of(tf.constant(queries), ids), scores, atol=1e-5)
    assert index.offset(domain) == 1 + first and index.size(domain) == sizes[domain]


def test_no_rows_are_none():
    found, places = best(tf.zeros([0, 100 * BLOCK]), tf.constant(3))
    assert found.shape == places.shape == (0, 3)
