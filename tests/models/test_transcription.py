"""What the benchmark of a training step compares with computes the same losses and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.transcription import Transcription


def transcribed(model):
    """A `Transcription` with the weights of a `SyNCRec`."""
    twin = Transcription(model)
    twin.items.assign(model.embedding.items)
    twin.start_tokens.assign(model.embedding.start_tokens)
    twin.positions.assign(model.embedding.positions)
    twin.w_h.assign(model.mutual_information.kernel)
    twin.transfer.set_weights(model.negative_transfer.get_weights())
    twin.batch_loss(tf.ones([1, twin.window + 1], tf.int32), training=False)  # makes its weights
    acmoe, dim = model.acmoe, model.dim
    number = model.acmoe.num_cross_experts
    for k, expert in enumerate(twin.experts):
        layer, e = (acmoe.cross_experts, k) if k < number else (acmoe.single_experts, k - number)
        for block, stacked in zip(expert.blocks, layer.blocks, strict=True):
            w = {name: weight.numpy()[e] for name, weight in stacked.items()}
            parts = (block.query, block.key, block.value)
            for part, kernel in zip(parts, np.split(w["qkv"], 3, axis=1), strict=True):
                part.set_weights([kernel])
            block.out.set_weights([w["out"]])
            block.inner.set_weights([w["w1"], w["b1"][0]])
            block.outer.set_weights([w["w2"], w["b2"][0]])
            for norm, name in ((block.attention_norm, "attention"), (block.ffn_norm, "ffn")):
                norm.set_weights([w[f"{name}_scale"][0], w[f"{name}_offset"][0]])
        expert.norm.set_weights(
            [layer.final[f"final_{n}"].numpy()[e, 0] for n in ("scale", "offset")]
        )
    for task, (gate, tower) in enumerate(zip(twin.gates, twin.towers, strict=True)):
        ours = acmoe.cross_gate if task == 0 else acmoe.single_gate
        g = max(task - 1, 0)
        columns = slice(g * len(twin.experts), (g + 1) * len(twin.experts))
        gate.set_weights([ours.kernel.numpy()[:, columns], ours.bias.numpy()[columns]])
        ours = acmoe.cross_tower if task == 0 else acmoe.single_tower
        w = {n: getattr(ours, n).numpy()[g] for n in ("w1", "b1", "w2", "b2", "scale", "offset")}
        tower.inner.set_weights([w["w1"], w["b1"][0]])
        tower.outer.set_weights([w["w2"], w["b2"][0]])
        tower.norm.set_weights([w["scale"][0], w["offset"][0]])
    assert dim == twin.dim
    return twin


@pytest.mark.parametrize("lengths", [pytest.param([7, 7, 7], marks=pytest.mark.slow), [7, 1, 4, 6]])
def test_losses_and_gradients_are_those_of_the_model(
    lengths, make_model, make_items, same_negatives
):
    model = make_model(experts=3, cross_experts=2, blocks=2, ff_dim=16, trainable_rates=False)
    items = make_items(lengths)
    twin = transcribed(model)
    drawn = [
        [first + i % size for i in range(3)]
        for first, size in zip((1, 6, 10), (5, 4, 3), strict=True)
    ]
    with tf.GradientTape(persistent=True) as tape:
        ours = model.batch_losses(items)
        theirs = twin.batch_loss(items, tf.constant(drawn), training=False)
    for mine, other in zip(
        (ours.total, ours.relative, ours.gap, ours.present), theirs, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    pairs = [
        (model.embedding.items, twin.items),
        (model.embedding.positions, twin.positions),
        (model.acmoe.cross_experts.blocks[0]["w1"], twin.experts[0].blocks[0].inner.kernel),
        (model.acmoe.single_experts.blocks[1]["out"], twin.experts[2].blocks[1].out.kernel),
    ]
    for mine, other in pairs:
        a, b = (
            tf.convert_to_tensor(tape.gradient(total, weight.value))
            for total, weight in ((ours.total, mine), (theirs[0], other))
        )
        np.testing.assert_allclose(
            a[0] if len(a.shape) > len(b.shape) else a, b, rtol=1e-4, atol=1e-6
        )
