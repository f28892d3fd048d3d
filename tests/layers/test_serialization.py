"""Every layer is an ordinary Keras layer: saved and loaded, with its shapes and an example."""

import inspect
import json
import re
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_syncrec import layers, losses
from tf_syncrec.layers import (
    ACMoE,
    CausalGate,
    Dropout,
    ItemNeighbours,
    NegativeTransferGap,
    PopularityTrend,
    RelativeNegativeTransfer,
    RepeatConsumption,
    SequenceGate,
    SharedEmbedding,
    Similarity,
    SingleCrossMutualInformation,
    TimeEmbedding,
    Tower,
    TransformerExperts,
    UserNeighbours,
    ViewWeights,
    group_by_domain,
    split_views,
)
from tf_syncrec.training.optimizers import RowwiseAdam


def _run_embedding(layer, cross, single, blocks, x):
    return layer(single)


def _run_acmoe(layer, cross, single, blocks, x):
    return tf.concat([layer.cross(x, cross), layer.single(x, single, blocks)[:2, :6]], 0)


def _run_gate(layer, cross, single, blocks, x):
    return layer(x, single.domains, single.positions, single.mask)


def _run_transfer(layer, cross, single, blocks, x):
    return layer(tf.constant([0.1, -0.3, 0.5]), tf.ones([3], tf.bool))


def _run_gap(layer, cross, single, blocks, x):
    return layer(tf.constant([3.0, 1.0, 2.0]), tf.constant([1.0, 2.0, 2.0]), tf.ones([3]))[0]


HALF = {"dtype": "mixed_bfloat16"}
WHEN = tf.random.stateless_uniform([3, 6, 2, 3], [3, 4], 0, 8, tf.int32)
LAYERS: list[tuple[keras.layers.Layer, Callable]] = [
    (SharedEmbedding(12, 3, 6, 8, dropout=0.3, time_inputs=["weekday"]), _run_embedding),
    (SharedEmbedding(12, 3, 6, 8, style="paper", dtype="mixed_bfloat16"), _run_embedding),
    (
        ACMoE(3, 1, 3, 6, 8, 1, 2, 5, 0.1, "paper", "sequence", False, name="mixture"),
        _run_acmoe,
    ),
    (ACMoE(4, 3, 3, 6, 8, 2, 1, None, 0.2, "pre_norm", "causal", **HALF), _run_acmoe),
    (TransformerExperts(2, 2, 8, 2, 5, 0.1, **HALF), lambda layer, c, s, b, x: layer(x, s.mask)),
    (
        TransformerExperts(2, 1, 8, dropout=0.1, style="paper"),
        lambda layer, c, s, b, x: layer(x, c.mask),
    ),
    (SequenceGate(3, 3, 6, 8), _run_gate),
    (CausalGate(3, 3, 6, 8, **HALF), _run_gate),
    (Tower(3, 8, 0.2), lambda layer, c, s, b, x: layer(b.gather(x), b.domains)),
    (Tower(1, 8, 0.2, style="paper", **HALF), lambda layer, c, s, b, x: layer(x, None)),
    (
        SingleCrossMutualInformation(8, "bilinear", "others"),
        lambda layer, c, s, b, x: layer(x, x[::-1], tf.ones(x.shape[:2], tf.bool))[0],
    ),
    (RelativeNegativeTransfer(3, 0.5, 2.0, 0.7, trainable_rates=False), _run_transfer),
    (RelativeNegativeTransfer(3, trainable_rates=True, trainable=False), _run_transfer),
    (RelativeNegativeTransfer(3, clamp=True), _run_transfer),
    (NegativeTransferGap(3, "sum"), _run_gap),
    (NegativeTransferGap(3, standardise=True, smoothing=0.5), _run_gap),
    (ItemNeighbours(12, 4, 3), lambda layer, c, s, b, x: layer(tf.maximum(c.tokens, 0))[1]),
    (
        UserNeighbours(12, 4, 3, users=2, interactions=5),
        lambda layer, c, s, b, x: layer(tf.maximum(c.tokens, 0))[1],
    ),
    (PopularityTrend(12), lambda layer, c, s, b, x: layer(tf.maximum(c.tokens, 0))),
    (RepeatConsumption([5, 4, 3]), lambda layer, c, s, b, x: layer(tf.maximum(c.tokens, 0))[0]),
    (TimeEmbedding(["hour", "gap"], 8, **HALF), lambda layer, c, s, b, x: layer(WHEN)),
    (Similarity("cosine", 0.2), lambda layer, c, s, b, x: layer(x, x)),
    (ViewWeights(3), lambda layer, c, s, b, x: layer(tf.constant([[2, 0]]))[1]),
    (Dropout(0.3, **HALF), lambda layer, c, s, b, x: layer(x)),
]
NAMES = [f"{i}-{type(layer).__name__}" for i, (layer, _) in enumerate(LAYERS)]


def test_no_layer_is_left_out():
    public = [getattr(layers, name) for name in layers.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, keras.Layer)}
    assert kinds == {type(layer) for layer, _ in LAYERS}


@pytest.fixture
def inputs(make_items):
    cross, single = split_views(make_items([6, 4, 2]), None, tf.constant([1, 6, 10]), 6)
    blocks = group_by_domain(single.domains, 3, block_size=6)
    return cross, single, blocks, tf.random.stateless_normal([3, 6, 8], [1, 2])


@pytest.mark.parametrize(("layer", "run"), LAYERS, ids=NAMES)
def test_layers_are_rebuilt_from_their_configuration(layer, run, inputs, tmp_path):
    assert keras.saving.get_registered_name(type(layer)) == f"tf_syncrec>{type(layer).__name__}"
    given = dict(inspect.signature(type(layer).__init__).parameters)
    assert given.keys() - {"self", "kwargs"} <= layer.get_config().keys()
    saved = json.loads(json.dumps(keras.layers.serialize(layer)))
    for twin in (type(layer).from_config(layer.get_config()), keras.layers.deserialize(saved)):
        assert twin.get_config() == layer.get_config()
        assert type(twin) is type(layer)
        for each in (layer, twin):
            if not each.built:
                each.build(None)
        for part in layer._flatten_layers():
            assert part.dtype_policy.name == layer.dtype_policy.name
        assert [w.shape for w in twin.weights] == [w.shape for w in layer.weights]
        assert [w.trainable for w in twin.weights] == [w.trainable for w in layer.weights]
        rng = np.random.default_rng(0)
        layer.set_weights([rng.uniform(0.1, 1, w.shape) for w in layer.weights])
        holder, other = keras.Sequential([layer]), keras.Sequential([twin])
        holder.built = other.built = True
        holder.save_weights(tmp_path / "layer.weights.h5")
        other.load_weights(tmp_path / "layer.weights.h5")
        for a, b in zip(twin.get_weights(), layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(run(twin, *inputs), run(layer, *inputs))


SHAPED = [
    (layer, run)
    for layer, run in LAYERS
    if type(layer).compute_output_shape is not keras.layers.Layer.compute_output_shape
]


@pytest.mark.parametrize(("layer", "run"), SHAPED, ids=lambda x: getattr(x, "name", ""))
def test_shapes_are_told_before_anything_is_computed(layer, run, inputs, monkeypatch):
    kind = type(layer)
    first, called = [], kind.__call__

    def call(self, *args, **kwargs):
        outputs = called(self, *args, **kwargs)
        if self is layer:
            first.append((args[0].shape, tf.nest.map_structure(lambda x: tuple(x.shape), outputs)))
        return outputs

    monkeypatch.setattr(kind, "__call__", call)
    run(layer, *inputs)
    ((shape, received),) = first
    assert layer.compute_output_shape(tuple(shape)) == received


EXAMPLES = [
    *dict.fromkeys(type(layer) for layer, _ in LAYERS),
    losses.register,
    losses.UniformNegatives,
    RowwiseAdam,
]


@pytest.mark.parametrize("documented", EXAMPLES, ids=lambda kind: kind.__name__)
def test_the_example_of_the_docstring_runs(documented, monkeypatch):
    monkeypatch.setattr(losses.functions, "LOSSES", dict(losses.LOSSES))
    (example,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(documented) or "", re.DOTALL)
    parts = {name: getattr(layers, name) for name in layers.__all__}
    known = parts | {"tf": tf, "keras": keras, documented.__name__: documented}
    exec(example, known)
    for names, shapes in re.findall(r"^(\w+(?:, \w+)*) = .*# (?:each )?(\(.*?\))", example, re.M):
        for name in names.split(", "):
            assert tuple(known[name].shape) == eval(shapes)
