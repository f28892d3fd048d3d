"""The learning rate over a training."""

import numpy as np
import pytest

from tf_syncrec.config import TrainConfig
from tf_syncrec.training.loop import learning_rate, planned_epochs


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
