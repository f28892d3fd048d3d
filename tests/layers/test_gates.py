"""Gates: distributions over experts, as published or blind to the future (Eq. 3)."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.literal import Literal
from tf_syncrec.layers import split_views


@pytest.mark.parametrize("gate", ["sequence", "causal"])
def test_gates_are_those_of_the_equation(gate, make_model, make_items):
    model = make_model(gate=gate)
    items = make_items([8, 4, 1], domains=[[0, 1, 2], [0, 2], [1]])
    cross, single = split_views(items, None, model.offsets, 6)
    literal = Literal(model)
    embedded = model.embedding(cross)
    weights = model.acmoe.cross_gate(
        embedded, tf.zeros_like(cross.tokens), cross.positions, cross.mask
    )
    single_weights = model.acmoe.single_gate(
        model.embedding(single), single.domains, single.positions, single.mask
    )
    for part in (weights, single_weights):
        np.testing.assert_allclose(tf.reduce_sum(part, -1), 1, rtol=1e-5)
        assert part.shape == (3, 6, 3)
        assert np.all(part > 0)
    for user, row in enumerate(items):
        (inputs, _, _), singles = literal.training_sequences(row)
        gates = literal.gate(model.acmoe.cross_gate, 0, literal.embed(inputs, 0))
        count = len(inputs)
        np.testing.assert_allclose(
            weights[user, -count:], tf.stack(gates[-count:]), rtol=1e-5, atol=1e-6
        )
        for d, (own, _, slots) in singles.items():
            gates = literal.gate(model.acmoe.single_gate, d, literal.embed(own, 1 + d))
            received = tf.gather(single_weights[user], [6 - count + s for s in slots])
            np.testing.assert_allclose(received, tf.stack(gates[-len(own) :]), rtol=1e-5, atol=1e-6)


def change(items, t):
    """Another item of the same domain (5, 4 and 3 items) in column t of every row."""
    changed = items.copy()
    following = {5: 1, 9: 6, 12: 10}
    changed[:, t] = [following.get(int(x), int(x) + 1) for x in items[:, t]]
    return changed


@pytest.mark.parametrize("style", ["paper", "pre_norm"])
@pytest.mark.parametrize("t", [0, 2, 4])
def test_causal_gate_keeps_the_future_out(t, style, make_model, make_items, representations):
    model = make_model(gate="causal", style=style)
    items = make_items([6, 6, 6, 6])
    before, after = (representations(model, x) for x in (items, change(items, t)))
    domains = before[2].numpy()
    # Slot t predicts item t; the item is an input from slot t + 1 on.
    for view in (0, 1):
        difference = np.abs(after[view] - before[view]).max(axis=-1)
        assert np.all(difference[:, : t + 1] == 0)
        own = domains[:, t + 1 :] == domains[:, t : t + 1]
        if view == 0:
            assert np.all(difference[:, t + 1 :] > 1e-6)
        else:
            assert np.all(difference[:, t + 1 :][own] > 1e-6)
            assert np.all(difference[:, t + 1 :][~own] == 0)


def test_published_gate_leaks_the_future(make_model, make_items, representations):
    """Documents Eq. 3: an item changes the representations that have to predict it."""
    model = make_model(gate="sequence")
    items = make_items([6, 6, 6, 6], domains=[[0, 1, 2]] * 3 + [[1]])
    t = 3
    before, after = (representations(model, x) for x in (items, change(items, t)))
    difference = np.abs(after[0] - before[0]).max(axis=-1)
    assert np.all(difference[:, : t + 1] > 1e-6)
    # In the single view it stays within the domain.
    domains = before[2].numpy()
    difference = np.abs(after[1] - before[1]).max(axis=-1)
    own = domains == domains[:, t : t + 1]
    assert np.all(difference[~own] == 0)
    assert np.all(difference[3] > 1e-6)  # the user of one domain


def test_last_target_is_no_input(make_model, make_items, representations):
    """Not even the published gate sees the last item, which is only predicted."""
    model = make_model(gate="sequence")
    items = make_items([6, 6])
    before, after = (representations(model, x) for x in (items, change(items, 5)))
    for view in (0, 1):
        np.testing.assert_array_equal(before[view], after[view])


def test_domains_have_gates_of_their_own(make_model, make_items):
    for gate in ("sequence", "causal"):
        model = make_model(gate=gate)
        _, view = split_views(make_items([6]), None, model.offsets, 6)
        embedded = model.embedding(view)
        run = model.acmoe.single_gate
        answers = [run(embedded, tf.fill([1, 6], d), view.positions, view.mask) for d in range(3)]
        assert np.abs(answers[0] - answers[1]).max() > 1e-3
        assert np.abs(answers[1] - answers[2]).max() > 1e-3
