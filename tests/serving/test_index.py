"""The best of a domain are those that sorting all of it gives, ties too."""

import numpy as np
import pytest
import tensorflow as tf

from serving.export import export
from serving.saved_model.search.best import BLOCK, best
from serving.saved_model.search.bfloat16_index import BLOCK as ITEMS_AT_A_TIME
from serving.saved_model.search.bfloat16_index import CANDIDATES
from serving.saved_model.search.index import ItemIndex
from tests.support.exporting import (
    DOMAINS,
    SETTINGS,
    TERMS,
    TOLERANCE,
    padded,
    random_histories,
)
from tf_syncrec.config import Config


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


@pytest.fixture(params=["exact", "bfloat16"])
def kind(request):
    """An index of which the answers are exact."""
    return request.param


@pytest.mark.parametrize("domain", [0, 2])
def test_an_index_gives_ids_of_its_domain(kind, domain):
    rng = np.random.default_rng(0)
    sizes = [70 * BLOCK + 3, 0, 40]
    items = rng.normal(size=(sum(sizes), 7)).astype(np.float32)
    queries = rng.normal(size=(5, 7)).astype(np.float32)
    index = ItemIndex(tf.constant(items), sizes, kind)
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


def shared(table):
    """Whether reading all of a variable copies nothing: twice it is the same memory."""
    reads = [tf.bitcast(table.read_value(), tf.uint8) for _ in range(2)]
    return len({np.asarray(memoryview(read)).ctypes.data for read in reads}) == 1


def test_reading_rows_leaves_the_table_as_cheap_to_read_as_it_was(kind):
    """Else each request after the first one with votes would copy all vectors, as it once did."""
    index = ItemIndex(tf.random.normal([3000, 16]), [3000], kind)
    index.scores_of(tf.ones([1, 16]), tf.constant([[1, 2, 3]]))
    index(tf.ones([1, 16]), tf.constant(0), tf.constant(5))
    assert index.variables and all(shared(variable) for variable in index.variables)


@pytest.mark.parametrize("rows", [0, 1, 3, 8, 9, 130])
def test_an_index_takes_batches_of_any_size(kind, rows):
    rng = np.random.default_rng(rows)
    items, queries = (rng.normal(size=(n, 5)).astype(np.float32) for n in (2000, rows))
    index = ItemIndex(tf.constant(items), [2000], kind)
    scores, ids = index(tf.constant(queries), tf.constant(0), tf.constant(7))
    np.testing.assert_array_equal(ids, 1 + np.argsort(-queries @ items.T, kind="stable")[:, :7])
    assert scores.shape == (rows, 7)
    assert index.scores(tf.constant(queries), tf.constant(0)).shape == (rows, 2000)


@pytest.mark.parametrize("items", [CANDIDATES // 2, 3 * ITEMS_AT_A_TIME + 5])
def test_of_equal_scores_the_first_item_is_first(kind, items):
    """Whole numbers are exact in every format, so that hundreds are equal."""
    rng = np.random.default_rng(items)
    table, queries = (rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in (items, 6))
    index = ItemIndex(tf.constant(table), [items], kind)
    for k in (1, 20, 200):
        scores, ids = index(tf.constant(queries), tf.constant(0), tf.constant(k))
        expected = queries @ table.T
        order = np.argsort(-expected, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(ids, 1 + order)
        np.testing.assert_array_equal(scores, np.take_along_axis(expected, order, axis=1))


def test_what_bfloat16_cannot_tell_apart_is_told_apart():
    """Items that differ in their lower halves alone: the best may be none of the candidates."""
    rng = np.random.default_rng(0)
    items = (1 + rng.permutation(6 * CANDIDATES)[:, None] * 2.0**-20).astype(np.float32)
    assert (tf.bitcast(tf.constant(items), tf.uint16)[..., 1].numpy() == 0x3F80).all()
    index = ItemIndex(tf.constant(items), [len(items)], "bfloat16")
    scores, ids = index(tf.constant([[2.0], [-1.0]]), tf.constant(0), tf.constant(9))
    order = np.argsort(items[:, 0])
    np.testing.assert_array_equal(ids, 1 + np.stack([order[::-1][:9], order[:9]]))
    np.testing.assert_array_equal(scores[0], 2 * items[ids[0] - 1, 0])


def test_the_halves_are_the_vectors_to_the_bit():
    rng = np.random.default_rng(0)
    items = (rng.normal(size=(50, 3)) * 10.0 ** rng.integers(-30, 30, (50, 3))).astype(np.float32)
    index = ItemIndex(tf.constant(items), [50], "bfloat16")
    for column, query in enumerate(np.eye(3, dtype=np.float32)):
        scores = index.scores_of(tf.constant(query[None]), tf.range(1, 51)[None])
        np.testing.assert_array_equal(scores[0], items[:, column])


@pytest.mark.slow
def test_an_export_by_bfloat16_answers_as_the_exact_one(exported, tmp_path):
    """As a SavedModel, which needs none of this code: for a domain and for all of them."""
    served = exported("syncrec", **TERMS)
    settings = Config.model_validate(SETTINGS).evaluate
    version = export(served.model, served.catalogue, tmp_path, settings, "bfloat16")
    loaded = tf.saved_model.load(str(version))
    histories = [*random_histories(served, 9, seed=1), ["never seen"]]
    items = tf.constant(padded(histories))
    for domain in (*DOMAINS, ""):
        asked = {"items": items, "domain": tf.fill([len(histories)], domain)}
        expected, found = (
            of.signatures["serving_default"](**asked) for of in (served.loaded, loaded)
        )
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found["items"], expected["items"])
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=TOLERANCE)
