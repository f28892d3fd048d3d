"""eSASRec: gated blocks, written out; what gates do when they are open or shut."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.published import attend, embed, norm, sigmoid, swiglu, tiny
from tf_syncrec.models.baselines.esasrec import ESASRec


def literal(model, items):
    """The representation after a history, row by row."""
    rows = embed(model, items, start=0)
    for block in model.blocks:
        (scale_1, offset_1), (scale_2, offset_2) = (
            [weight.numpy() for weight in each.weights] for each in block.norms
        )
        (w_1, b_1), (w_2, b_2) = (
            [weight.numpy() for weight in each.weights] for each in block.gates
        )
        seen = np.array([norm(row, scale_1, offset_1) for row in rows])
        after = []
        for t, row in enumerate(rows):
            x = row + sigmoid(row @ w_1 + b_1) * attend(block.attention, seen[: t + 1])
            fed = swiglu(norm(x, scale_2, offset_2), *(w.numpy() for w in block.feed_forward))
            after.append(x + sigmoid(x @ w_2 + b_2) * fed)
        rows = np.array(after)
    return rows[-1]


@pytest.mark.parametrize("heads", [1, 2])
def test_it_is_its_equations(heads):
    model = tiny(ESASRec, blocks=2, heads=heads)
    for history in ([], [3], [3, 7, 12, 1]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        query = model({"items": batch, "domain": np.array([1], np.int32)})
        np.testing.assert_allclose(query[0], literal(model, history), rtol=1e-4, atol=1e-5)


def test_shut_gates_let_nothing_pass_and_open_ones_all(make_items):
    model = tiny(ESASRec)
    items = make_items([4, 2])
    batch = {"items": items, "domain": np.zeros(2, np.int32)}
    gates = [gate for block in model.blocks for gate in block.gates]

    def with_bias(bias):
        for gate in gates:
            gate.kernel.assign(tf.zeros_like(gate.kernel))
            gate.bias.assign(tf.fill(gate.bias.shape, bias))
        return model(batch).numpy()

    shut = with_bias(-1e4)
    expected = [embed(model, row[row > 0], start=0)[-1] for row in items]
    np.testing.assert_allclose(shut, expected, atol=1e-5)
    with tf.GradientTape() as tape:
        loss = model.batch_losses(items).total
    branches = [w for block in model.blocks for w in block.attention.trainable_weights]
    for gradient in tape.gradient(loss, branches):
        assert not np.any(gradient), "what passes no gate learns nothing"
    assert np.abs(with_bias(1e4) - shut).max() > 0.1
    halved = with_bias(0.0)
    assert np.abs(halved - shut).max() > 0.01
