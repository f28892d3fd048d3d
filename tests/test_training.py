"""The learning rate over a training."""

import numpy as np
import pytest

from tf_syncrec.config import TrainConfig
from tf_syncrec.training import learning_rate


def test_a_constant_rate_is_a_number():
    assert learning_rate(TrainConfig(learning_rate=0.02), 7) == 0.02


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_the_cosine_rises_for_an_epoch_and_falls_to_the_end(epochs):
    config = TrainConfig(learning_rate=0.02, schedule="cosine", epochs=epochs)
    schedule = learning_rate(config, 20)
    rates = np.array([float(schedule(step)) for step in range(20 * epochs + 1)])
    assert rates[0] == 0 and rates.argmax() == 20
    np.testing.assert_allclose(rates[20], 0.02, rtol=1e-6)
    assert (np.diff(rates[:21]) > 0).all() and (np.diff(rates[20:]) < 0).all()
    assert (rates[1:] > 0).all() and (epochs == 1 or rates[-1] < 0.0003)
