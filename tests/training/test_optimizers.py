"""Row-wise Adam is Adam without its mean of gradients, for the rows that a step has read."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.training.optimizers import RowwiseAdam, optimizer_of

ROWS = 7


def slices(rng, dim, rows=None):
    """A gradient of some rows, one of them twice; or of the given ones."""
    rows = rng.choice(ROWS, 3, replace=False) if rows is None else np.asarray(rows)
    rows = np.concatenate([rows, rows[:1]])
    values = rng.normal(size=(len(rows), dim)).astype(np.float32)
    return tf.IndexedSlices(tf.constant(values), tf.constant(rows), tf.constant([ROWS, dim]))


def trained(optimizer, gradients, dim, by_rows=True):
    """The table after steps with these gradients, beginning at 1."""
    table = keras.Variable(np.ones((ROWS, dim), np.float32), name="table")
    table.read_by_rows = by_rows
    made = optimizer()
    made.build([table])
    for gradient in gradients:
        made.apply([gradient], [table])
    return table.numpy()


def test_one_column_is_adam_without_a_mean_of_gradients():
    """Whichever rows are read when: Keras's own Adam sees zeros for the others."""
    rng = np.random.default_rng(0)
    gradients = [slices(rng, 1) for _ in range(40)]
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    ours = trained(lambda: RowwiseAdam(0.1), gradients, 1)
    keras_adam = trained(lambda: keras.optimizers.Adam(0.1, beta_1=0.0), dense, 1)
    np.testing.assert_allclose(ours, keras_adam, rtol=1e-4, atol=1e-5)
    assert np.ptp(ours) > 1


def test_a_row_has_one_rate_and_it_does_not_see_the_basis():
    """A rotation of the vectors rotates what they become, unlike with Adam."""
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0].astype(np.float32)
    gradients = [slices(rng, 4) for _ in range(10)]
    rotated = [tf.IndexedSlices(g.values @ rotation, g.indices, g.dense_shape) for g in gradients]
    a, b = (trained(lambda: RowwiseAdam(0.1), steps, 4) - 1 for steps in (gradients, rotated))
    np.testing.assert_allclose(a @ rotation, b, rtol=1e-4, atol=1e-5)


def test_equal_columns_move_as_one_of_them_would():
    """The mean square of a row, not their sum."""
    rng = np.random.default_rng(5)
    one = [slices(rng, 1) for _ in range(10)]
    four = [tf.IndexedSlices(tf.tile(g.values, [1, 4]), g.indices, [ROWS, 4]) for g in one]
    a, b = (trained(lambda: RowwiseAdam(0.1), steps, dim) for steps, dim in ((one, 1), (four, 4)))
    np.testing.assert_allclose(np.tile(a, [1, 4]), b, rtol=1e-5)


@pytest.mark.parametrize("kind", ["slices", "dense"])
def test_rows_that_nobody_read_stay_as_they_are(kind):
    rng = np.random.default_rng(2)
    gradients = [slices(rng, 3, rows) for rows in ([0, 2], [2, 5], [0, 5])]
    if kind == "dense":
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
    table = trained(lambda: RowwiseAdam(0.1), gradients, 3)
    moved = np.any(table != 1, axis=1)
    np.testing.assert_array_equal(np.flatnonzero(moved), [0, 2, 5])


@pytest.mark.parametrize(
    ("clipping", "by_rows"),
    [({}, False), ({}, True), ({"clipnorm": 0.5}, True), ({"global_clipnorm": 0.5}, True)],
    ids=["no table", "table", "clipped", "globally clipped"],
)
def test_slices_of_a_row_count_as_their_sum(clipping, by_rows):
    rng = np.random.default_rng(3)
    gradients = [slices(rng, 3) for _ in range(10)]
    dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
    a, b = (
        trained(lambda: RowwiseAdam(0.1, **clipping), steps, 3, by_rows)
        for steps in (gradients, dense)
    )
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_no_table_is_trained_by_adam():
    rng = np.random.default_rng(4)
    gradients = [tf.constant(rng.normal(size=(ROWS, 3)), tf.float32) for _ in range(10)]
    a, b = (
        trained(optimizer, gradients, 3, by_rows=False)
        for optimizer in (lambda: RowwiseAdam(0.1), lambda: keras.optimizers.Adam(0.1))
    )
    np.testing.assert_array_equal(a, b)


def test_a_table_costs_two_numbers_a_row(make_model):
    model = make_model()
    sizes = {}
    for name in ("adam", "rowwise_adam"):
        optimizer = optimizer_of(name, 0.1)
        optimizer.build(model.trainable_weights)
        sizes[name] = sum(np.prod(variable.shape) for variable in optimizer.variables)
    rows, dim = model.embedding.items.shape
    assert sizes["adam"] - sizes["rowwise_adam"] == 2 * rows * dim - 2 * rows


def test_a_step_moves_what_its_batch_read(make_model, make_items, same_negatives):
    """In the model: rows of the batch and of its negatives, through both views."""
    model = make_model(negatives=1)
    model.compile(optimizer_of("rowwise_adam", 0.1))
    before = model.embedding.items.numpy()
    items = make_items([4, 3], domains=[[0], [0, 1]])
    model.train_step({"items": tf.constant(items)})
    moved = np.flatnonzero(np.any(model.embedding.items.numpy() != before, axis=1))
    read = {*items[items > 0].tolist(), 1, 6, 10}
    assert set(moved) <= read
    assert set(items[items > 0].tolist()) <= set(moved)


def test_users_of_bprmf_are_a_table():
    model = BPRMF([4, 3], [b"a", b"b"])
    marked = [weight for weight in model.weights if getattr(weight, "read_by_rows", False)]
    assert {tuple(weight.shape) for weight in marked} == {(8, 64), (3, 64)}


@pytest.mark.parametrize("optimizer", ["adam", "rowwise_adam"])
def test_any_optimizer_sees_the_whole_gradient_of_a_row(
    optimizer, make_model, make_items, same_negatives, monkeypatch
):
    """Rows that a batch reads several times: as if the gradient had been dense from the start."""
    items = {"items": tf.constant(make_items([6, 5], domains=[[0], [0]]))}
    tables = []
    for dense in (False, True):
        model = make_model(negatives=1)
        model.compile(optimizer if optimizer == "adam" else RowwiseAdam(0.1))
        model.optimizer.learning_rate = 0.1
        if dense:
            # Not of the table but of a product, whose gradient has no slices.
            def embed(ids, of_batch=True, layer=model.embedding):
                return tf.gather(layer.items.value * 1.0, ids)

            monkeypatch.setattr(model.embedding, "embed_items", embed)
        for _ in range(3):
            model.train_step(items)
        tables.append(model.embedding.items.numpy())
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-3, atol=1e-4)


@keras.saving.register_keras_serializable("test")
class Table(keras.layers.Embedding):
    """An embedding of which a batch reads few rows."""

    def build(self, input_shape=None):
        super().build(input_shape)
        self.embeddings.read_by_rows = True


X, Y = np.array([[1, 2], [2, 2], [0, 5]]), np.array([[1.0], [0.0], [3.0]])


def compiled(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input([2], dtype="int32"),
            Table(7, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer, loss="mse")
    return model


def rates(model, epochs, **options):
    """How far each epoch of one step moved the table, furthest."""
    table, moved = model.layers[0].embeddings, []
    for epoch in range(epochs):
        before = table.numpy()
        model.fit(X, Y, initial_epoch=epoch, epochs=epoch + 1, verbose=0, **options)
        moved.append(np.abs(table.numpy() - before).max())
    return moved


def test_a_model_of_keras_needs_no_names_of_tables():
    model = compiled(RowwiseAdam(0.01))
    rates(model, 1)
    assert model.optimizer._last_steps.keys() == {0}
    np.testing.assert_array_equal(model.optimizer._last_steps[0], [1, 1, 1, 0, 0, 1, 0])


def test_a_saved_model_goes_on_as_if_it_had_not_stopped(tmp_path):
    model = compiled(RowwiseAdam(0.01, beta_2=0.9, epsilon=1e-6))
    rates(model, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is RowwiseAdam
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert int(loaded.optimizer.iterations) == 3
    np.testing.assert_array_equal(rates(loaded, 3), rates(model, 3))
    for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_rate_follows_a_schedule_and_callbacks():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1], [0.1, 0.01, 0.0])
    scheduled = rates(compiled(RowwiseAdam(schedule)), 4)
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: [0.1, 0.01, 0.0, 0.0][epoch])
    called_back = rates(compiled(RowwiseAdam(1.0)), 4, callbacks=[callback])
    np.testing.assert_allclose(scheduled, called_back, rtol=1e-5)
    assert scheduled[0] > 3 * scheduled[1] > 0 == scheduled[2] == scheduled[3]


@pytest.mark.parametrize(
    "optimizer",
    [
        RowwiseAdam(),
        RowwiseAdam(keras.optimizers.schedules.CosineDecay(0.1, 10), beta_2=0.9),
        RowwiseAdam(0.1, clipnorm=1.0),
    ],
)
def test_an_optimizer_is_made_again_from_its_configuration(optimizer):
    saved = keras.saving.serialize_keras_object(optimizer)
    twin = keras.saving.deserialize_keras_object(json.loads(json.dumps(saved)))
    assert type(twin) is RowwiseAdam
    assert twin.get_config() == optimizer.get_config()
    assert keras.optimizers.get(keras.optimizers.serialize(optimizer)).beta_2 == optimizer.beta_2


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="amsgrad=True"):
        RowwiseAdam(amsgrad=True)
