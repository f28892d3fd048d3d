"""Vectors that follow from what is known of items: sums, gradients, what is dropped, tables."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.layers import SharedEmbedding, split_views
from tf_syncrec.layers.item_attributes import ItemAttributes

ITEMS, SIZE, PER_ITEM, DIM, READY_MADE = 12, 7, 3, 4, 5
SIZES = {"size": SIZE, "per_item": PER_ITEM, "ready_made": READY_MADE}


@pytest.fixture
def known():
    """Attributes of items 1 to 10, of some fewer than three; of 11 and 12 nothing is known."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, SIZE + 1, [ITEMS + 1, PER_ITEM]).astype(np.int32)
    ids[3, 1:] = ids[0] = ids[11:] = 0
    shares = np.where(ids > 0, rng.random(ids.shape), 0).astype(np.float32)
    vectors = rng.normal(size=[ITEMS + 1, READY_MADE]).astype(np.float32)
    vectors[0] = vectors[11:] = 0
    return ids, shares, vectors


def attributes_of(known):
    layer = ItemAttributes(ITEMS, SIZE, PER_ITEM, DIM, READY_MADE)
    layer.build()
    layer.set(*known)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def embedding_of(known, own_dropout=0.0):
    keras.utils.set_random_seed(2)
    embedding = SharedEmbedding(
        ITEMS, 2, 5, DIM, attributes=SIZES, own_dropout=own_dropout, style="paper"
    )
    embedding.build()
    embedding.set_attributes(*known)
    rng = np.random.default_rng(1)
    for weight in embedding.item_weights[1:]:
        weight.assign(rng.normal(size=weight.shape))
    return embedding


def literal(known, layer, item):
    """One item, one attribute after the other."""
    ids, shares, vectors = known
    found = vectors[item] @ layer.projection.numpy()
    for attribute, share in zip(ids[item], shares[item], strict=True):
        if attribute:
            found = found + share * layer.table.numpy()[attribute]
    return found


def test_is_the_sum_over_attributes_and_ready_made_vectors(known):
    layer = attributes_of(known)
    items = [3, 3, 12, 7, 0]
    expected = [literal(known, layer, item) for item in items]
    np.testing.assert_allclose(layer(tf.constant(items)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.of_all()[items], expected, rtol=1e-5, atol=1e-6)
    dense = layer.matrix().toarray()
    np.testing.assert_allclose(
        dense @ layer.table.numpy() + known[2] @ layer.projection.numpy(),
        layer.of_all(),
        rtol=1e-5,
        atol=1e-6,
    )
    np.testing.assert_array_equal(layer.known(tf.constant([1, 3, 11, 12, 0])), [1, 1, 0, 0, 0])


def test_only_attributes_of_what_was_read_have_a_gradient(known):
    layer = attributes_of(known)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.constant([3, 5])) ** 2)
    table, _ = tape.gradient(loss, [layer.table.value, layer.projection.value])
    moved = np.flatnonzero(np.abs(table.numpy()).sum(axis=1))
    assert set(moved) == (set(known[0][3]) | set(known[0][5])) - {0}


def test_a_batch_is_read_once_and_the_same(known):
    """Vectors, and gradients of all that they are made of."""
    embedding = embedding_of(known)
    items = tf.constant([[0, 3, 7, 3], [1, 11, 12, 2]])
    _, view = split_views(items, None, tf.constant([1, 7]), 3)

    def found():
        with tf.GradientTape() as tape:
            with embedding.read(items):
                once = embedding(view)
            loss = tf.reduce_sum(once**3)
        return once, [tf.convert_to_tensor(g) for g in gradients(tape, loss)]

    def gradients(tape, loss):
        return tape.gradient(loss, embedding.item_weights)

    once, of_once = found()
    with tf.GradientTape() as tape:
        each = embedding(view)
        loss = tf.reduce_sum(each**3)
    np.testing.assert_allclose(once, each, rtol=1e-6)
    for ours, theirs in zip(of_once, gradients(tape, loss), strict=True):
        theirs = tf.convert_to_tensor(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_of_known_items_the_own_part_is_dropped_and_of_others_never(known):
    embedding = embedding_of(known, own_dropout=0.5)
    own, told = embedding.items.numpy(), embedding.attributes.of_all()
    items = tf.constant([list(range(1, ITEMS + 1))])
    dropped = np.zeros(ITEMS + 1)
    for _ in range(200):
        with embedding.read(items):
            found = embedding.embed_items(items)[0].numpy()
        for item, vector in enumerate(found, start=1):
            without = np.allclose(vector, told[item], atol=1e-6)
            assert without or np.allclose(vector, own[item] + told[item], atol=1e-5)
            dropped[item] += without
    assert (dropped[1:11] > 60).all() and (dropped[1:11] < 140).all()
    assert not dropped[11:].any()
    # Outside of a step, nothing is.
    np.testing.assert_allclose(embedding.embed_items(items)[0], (own + told)[1:], rtol=1e-5)


def test_where_the_own_part_is_dropped_it_has_no_gradient(known):
    embedding = embedding_of(known, own_dropout=0.999)
    items = tf.constant([[3, 12]])
    with tf.GradientTape() as tape, embedding.read(items):
        loss = tf.reduce_sum(embedding.embed_items(items) ** 2)
    moved = tf.convert_to_tensor(tape.gradient(loss, embedding.items.value)).numpy()
    assert not moved[3].any() and moved[12].any()


def test_a_table_that_is_given_is_the_table_that_is_read(known):
    embedding = embedding_of(known)
    vectors = np.random.default_rng(3).normal(size=[ITEMS + 1, DIM]).astype(np.float32)
    told = embedding.attributes.of_all()
    embedding.set_table(vectors)
    np.testing.assert_allclose(embedding.whole_table(), vectors, atol=1e-5)
    np.testing.assert_allclose(embedding.embed_items(tf.range(ITEMS + 1)), vectors, atol=1e-5)
    np.testing.assert_array_equal(embedding.attributes.of_all(), told)


def test_what_one_thread_reads_is_not_read_by_another(known):
    """Replicas of one process are traced in threads of their own, in turns."""
    embedding, found = embedding_of(known), []
    with embedding.read(tf.constant([3])):
        other = threading.Thread(target=lambda: found.append(embedding.embed_items([7])))
        other.start()
        other.join()
    np.testing.assert_allclose(found[0], embedding.embed_items([7]))
    assert np.abs(found[0]).max() > 0
