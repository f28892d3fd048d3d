"""Row-wise Adam is Adam without its mean of gradients, for the rows that a step has read."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.models.bprmf import BPRMF
from tf_syncrec.training.optimizers import Adam, RowwiseAdam, optimizer_of

ROWS = 7


def slices(rng, dim, rows=None):
    """A gradient of some rows, one of them twice; or of the given ones."""
    rows = rng.choice(ROWS, 3, replace=False) if rows is None else np.asarray(rows)
    rows = np.concatenate([rows, rows[:1]])
    values = rng.normal(size=(len(rows), dim)).astype(np.float32)
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([ROWS, dim]))


def trained(optimizer, gradients, dim):
    """The table after steps with these gradients, beginning at 1."""
    table = keras.Variable(np.ones((ROWS, dim), np.float32), name="table")
    made = optimizer(table)
    made.build([table])
    for gradient in gradients:
        made.apply([gradient], [table])
    return table.numpy()


def test_one_column_is_adam_without_a_mean_of_gradients():
    """Whichever rows are read when: Keras's own Adam sees zeros for the others."""
    rng = np.random.default_rng(0)
    gradients = [slices(rng, 1) for _ in range(40)]
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    ours = trained(lambda table: RowwiseAdam(0.1, [table]), gradients, 1)
    keras_adam = trained(lambda table: keras.optimizers.Adam(0.1, beta_1=0.0), dense, 1)
    np.testing.assert_allclose(ours, keras_adam, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 1


def test_a_row_has_one_rate_and_it_does_not_see_the_basis():
    """A rotation of the vectors rotates what they become, unlike with Adam."""
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32)
    gradients = [slices(rng, 4) for _ in range(10)]
    rotated = [tf.IndexedSlices(g.values @ rotation, g.indices, g.dense_shape) for g in gradients]
    a, b = (
        trained(lambda table: RowwiseAdam(0.1, [table]), steps, 4) - 1
        for steps in (gradients, rotated)
    )
    np.testing.assert_allclose(a @ rotation, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["slices", "dense"])
def test_rows_that_nobody_read_stay_as_they_are(kind):
    rng = np.random.default_rng(2)
    gradients = [slices(rng, 3, rows) for rows in ([0, 2], [2, 5], [0, 5])]
    if kind == "dense":
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    table = trained(lambda table: RowwiseAdam(0.1, [table]), gradients, 3)
    moved = np.any(table != 1, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), [0, 2, 5])


@pytest.mark.parametrize("optimizer", [lambda t: Adam(0.1), lambda t: RowwiseAdam(0.1, [t])])
def test_slices_of_a_row_count_as_their_sum(optimizer):
    rng = np.random.default_rng(3)
    gradients = [slices(rng, 3) for _ in range(10)]
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    a, b = (trained(optimizer, steps, 3) for steps in (gradients, dense))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_no_table_is_trained_by_adam():
    rng = np.random.default_rng(4)
    gradients = [tf.constant(rng.normal(size=(ROWS, 3)), tf.float32) for _ in range(10)]
    a, b = (
        trained(optimizer, gradients, 3)
        for optimizer in (lambda table: RowwiseAdam(0.1), lambda table: keras.optimizers.Adam(0.1))
    )
    np.testing.assert_array_equal(a, b)


def test_a_table_costs_two_numbers_a_row(make_model):
    model = make_model()
    sizes = {}
    for name in ("adam", "rowwise_adam"):
        optimizer = optimizer_of(name, 0.1, model.tables)
        optimizer.build(model.trainable_weights)
        sizes[name] = sum(np.prod(variable.shape) for variable in optimizer.variables)
    rows, dim = model.embedding.items.shape
    assert sizes["adam"] - sizes["rowwise_adam"] == 2 * rows * dim - 2 * rows


def test_a_step_moves_what_its_batch_read(make_model, make_items, same_negatives):
    """In the model: rows of the batch and of its negatives, through both views."""
    model = make_model(negatives=1)
    model.compile(optimizer_of("rowwise_adam", 0.1, model.tables))
    before = model.embedding.items.numpy()
    items = make_items([4, 3], domains=[[0], [0, 1]])
    model.train_step({"items": tf.constant(items)})
    moved = np.flatnonzero(np.any(model.embedding.items.numpy() != before, axis=1))
    read = {*items[items > 0].tolist(), 1, 6, 10}
    assert set(moved) <= read
    assert set(items[items > 0].tolist()) <= set(moved)


def test_users_of_bprmf_are_a_table():
    model = BPRMF([4, 3], [b"a", b"b"])
    assert [tuple(table.shape) for table in model.tables] == [(8, 64), (3, 64)]
