"""A training: the learning rate over it, and the weights that it ends with."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec.config import Config, TrainConfig
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.training.loop import learning_rate, planned_epochs, train


def test_a_constant_rate_is_a_number():
    assert learning_rate(TrainConfig(learning_rate=0.02), 7) == 0.02


@pytest.mark.parametrize("epochs", [1, 2, 10, 30])
def test_the_cosine_rises_for_a_while_and_falls_to_the_end(epochs):
    config = TrainConfig(learning_rate=0.02, schedule="cosine", epochs=epochs)
    schedule = learning_rate(config, 20)
    rates = np.array([float(schedule(step)) for step in range(20 * epochs + 1)])
    top = min(20, 2 * epochs)
    assert rates[0] == 0 and rates.argmax() == top
    np.testing.assert_allclose(rates[top], 0.02, rtol=1e-6)
    assert (np.diff(rates[: top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    np.testing.assert_allclose(rates[-1], 0.0002, rtol=1e-4)


def test_little_data_is_seen_more_often():
    config = TrainConfig(epochs=10, min_steps=2000)
    assert [planned_epochs(config, steps) for steps in (1, 7, 199, 200, 5000)] == [
        2000,
        286,
        11,
        10,
        10,
    ]
    assert planned_epochs(TrainConfig(epochs=3), 1) == 3


class Spoiler(keras.callbacks.Callback):
    """Makes all items alike before the last validation: every target ranks last there."""

    def __init__(self, last):
        super().__init__()
        self.last, self.weights = last, []

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.last and batch + 1 == self.params["steps"]:
            items = self.model.embedding.items
            items.assign(tf.ones_like(items))

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append([weight.numpy() for weight in self.model.trainable_weights])


def test_a_training_ends_with_the_weights_of_its_best_epoch(make_prepared, tmp_path):
    prepared = make_prepared(users=30)
    config = Config.model_validate(
        {"model": {"dim": 8, "blocks": 1}, "loss": {"negatives": 8}, "train": {"epochs": 2}}
    )
    model, spoiler = SASRec.from_data(config, prepared), Spoiler(last=1)
    history, best = train(
        model,
        config,
        prepared,
        evaluation_batches(prepared, "validation", 16),
        tmp_path / "best.weights.h5",
        tmp_path / "logs",
        report=lambda line: None,
        callbacks=[spoiler],
    )
    assert (len(history), best) == (2, 0)
    for weight, kept in zip(model.trainable_weights, spoiler.weights[best], strict=True):
        np.testing.assert_array_equal(weight, kept)
