"""Experts, towers and their asymmetry: batched is looped, and each task trains its own half."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.literal import Literal
from tf_syncrec.layers import Tower, TransformerExperts

EXPERT_GROUPS = ("cross_experts", "single_experts")


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("style", ["paper", "pre_norm"])
def test_batched_experts_equal_a_loop_over_experts(style, heads, make_model):
    model = make_model(style=style, heads=heads, experts=5, cross_experts=3, blocks=2, ff_dim=5)
    rng = np.random.default_rng(heads)
    x = rng.normal(size=(2, 6, 8)).astype(np.float32)
    padding = [2, 0]
    real = np.arange(6) >= np.array(padding)[:, None]
    mask = np.tril(np.ones((6, 6), bool)) & real[:, None] | np.eye(6, dtype=bool)
    literal = Literal(model)
    outputs = tf.concat([getattr(model.acmoe, g)(x, mask) for g in EXPERT_GROUPS], 0)
    assert outputs.shape == (5, 2, 6, 8)
    for k in range(5):
        for user, start in enumerate(padding):
            rows = [None] * start + [tf.constant(row) for row in x[user, start:]]
            expected = tf.stack(literal.expert(k, rows)[start:])
            np.testing.assert_allclose(outputs[k, user, start:], expected, rtol=1e-5, atol=1e-5)


def test_published_block_is_ffn_of_attention_and_nothing_else():
    """Eq. 5-7 with W^F = 0 leave b2 + GELU(b1) W2 at every slot: no residual, no norm."""
    layer = TransformerExperts(2, num_blocks=1, dim=4, style="paper")
    layer.build()
    assert sorted(w.name for w in layer.weights) == [
        f"block0_{name}" for name in ("b1", "b2", "out", "qkv", "w1", "w2")
    ]
    rng = np.random.default_rng(0)
    block = layer.blocks[0]
    for weight in block.values():
        weight.assign(rng.normal(size=weight.shape))
    block["out"].assign(np.zeros((2, 4, 4)))
    x = rng.normal(size=(1, 3, 4)).astype(np.float32)
    y = layer(x, np.tril(np.ones((1, 3, 3), bool)))
    expected = keras.ops.gelu(block["b1"].value, approximate=False) @ block["w2"].value
    expected += block["b2"].value
    np.testing.assert_allclose(y[:, 0], np.repeat(expected, 3, axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("style", ["paper", "pre_norm"])
def test_each_row_meets_its_own_tower(style):
    towers = Tower(3, 4, style=style)
    towers.build()
    rng = np.random.default_rng(0)
    for weight in towers.weights:
        weight.assign(rng.normal(size=weight.shape))
    x = rng.normal(size=(4, 2, 4)).astype(np.float32)
    rows = [2, 0, 1, 2]
    together = towers(x, tf.constant(rows))
    for i, tower in enumerate(rows):
        alone = Tower(1, 4, style=style)
        alone.build()
        alone.set_weights([w.numpy()[tower : tower + 1] for w in towers.weights])
        np.testing.assert_allclose(together[i], alone(x[i : i + 1], None)[0], rtol=1e-5, atol=1e-6)
    unscaled = (together - tf.gather(towers.offset, rows)) / tf.gather(towers.scale, rows)
    np.testing.assert_allclose(np.mean(unscaled, -1), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(unscaled, -1), 1, atol=1e-3)


# ------------------------------------------------------------------------------------ asymmetry


def gradient_size(model, items, objective):
    """Largest absolute gradient of `objective(losses)` in either group of experts."""
    with tf.GradientTape() as tape:
        value = objective(model.batch_losses(items))
    groups = [getattr(model.acmoe, name).trainable_weights for name in EXPERT_GROUPS]
    sizes = []
    for gradients in tape.gradient(value, groups):
        # A row an expert: each of them must learn, or none.
        rows = [np.abs(g).reshape(g.shape[0], -1).max(axis=1) for g in gradients if g is not None]
        sizes.append(np.max(rows, axis=0) if rows else np.zeros(1))
    return sizes


OBJECTIVES = {
    "single": lambda losses: losses.single,
    "cross": lambda losses: losses.cross,
    "corrected": lambda losses: losses.total / 0.9 - losses.single,
    "last domain's single": lambda losses: losses.domain_single[-1],
    "last domain's cross": lambda losses: losses.domain_cross[-1],
}


@pytest.mark.parametrize("style", ["paper", "pre_norm"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_task_trains_its_own_experts_only(objective, style, make_model, make_items):
    model = make_model(experts=5, cross_experts=2, style=style, mutual_information=False)
    items = make_items([9, 5, 3])
    cross_experts, single_experts = gradient_size(model, items, OBJECTIVES[objective])
    own, other = single_experts, cross_experts
    if "single" not in objective:
        own, other = other, own
    assert np.all(own > 1e-7)
    assert np.all(other == 0)  # exactly


@pytest.mark.parametrize("objective", ["single", "cross"])
def test_without_asymmetry_both_tasks_train_all_experts(objective, make_model, make_items):
    model = make_model(asymmetric=False, mutual_information=False)
    for size in gradient_size(model, make_items([9, 5, 3]), OBJECTIVES[objective]):
        assert np.all(size > 1e-7)


def test_asymmetry_changes_gradients_but_no_value(make_model, make_items, same_negatives):
    items = make_items([9, 5, 3])
    asymmetric, symmetric = (make_model(asymmetric=a).batch_losses(items) for a in (True, False))
    for a, b in zip(asymmetric, symmetric, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_shared_parts_learn_from_both_tasks(make_model, make_items):
    model = make_model(mutual_information=False)
    with tf.GradientTape(persistent=True) as tape:
        losses = model.batch_losses(make_items([9, 5, 3]))
    items, positions = model.embedding.items, model.embedding.positions
    for value in (losses.single, losses.cross):
        for weight in (items, positions):
            assert np.any(tf.convert_to_tensor(tape.gradient(value, weight)))
    # Gates and towers belong to one task.
    cross = [model.acmoe.cross_gate.kernel, model.acmoe.cross_tower.w1]
    single = [model.acmoe.single_gate.kernel, model.acmoe.single_tower.w1]
    assert tape.gradient(losses.single, cross) == [None, None]
    assert tape.gradient(losses.cross, single) == [None, None]
    for value, weights in ((losses.single, single), (losses.cross, cross)):
        assert all(np.any(g) for g in tape.gradient(value, weights))


def expert_distances(model):
    """Smallest distance between two experts, over every matrix and every pair."""
    distances = []
    cross, single = (getattr(model.acmoe, name) for name in EXPERT_GROUPS)
    for i, block in enumerate(cross.blocks):
        for name in ("qkv", "out", "w1", "w2"):
            experts = np.concatenate([block[name], single.blocks[i][name]])
            assert len(experts) == model.acmoe.num_experts
            distances += [
                np.abs(experts[a] - experts[b]).max() for a in range(len(experts)) for b in range(a)
            ]
    return min(distances)


@pytest.mark.slow
def test_experts_are_distinct_and_stay_so(make_model, make_items):
    model = make_model(redraw=False, experts=4, cross_experts=2, mutual_information=False)
    assert expert_distances(model) > 0.05
    start = model.acmoe.get_weights()
    model.compile(keras.optimizers.Adam(1e-2))
    batch = {"items": make_items([7, 5, 4, 2])}
    for _ in range(20):
        model.train_step(batch)
    assert expert_distances(model) > 0.05
    moved = [np.abs(a - b).max() for a, b in zip(start, model.acmoe.get_weights(), strict=True)]
    assert min(moved) > 1e-4


@pytest.mark.parametrize("style", ["pre_norm", "paper"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("last", [1, 3])
def test_the_last_slots_alone_are_what_they_are_among_all(style, heads, last):
    layer = TransformerExperts(3, 2, 8, num_heads=heads, style=style)
    layer.build(None)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(2, 5, 8)).astype(np.float32)
    mask = np.tril(rng.random((2, 5, 5)) < 0.7) | np.eye(5, dtype=bool)
    expected = layer(inputs, mask)[:, :, -last:]
    np.testing.assert_allclose(layer(inputs, mask, last=last), expected, rtol=1e-5, atol=1e-6)
