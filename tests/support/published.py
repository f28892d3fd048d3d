"""Parts of published networks, written out in numpy, one row after another."""

import keras
import numpy as np
import tensorflow as tf

SIZES = (5, 4, 3)


def tiny(kind, sizes=SIZES, seed=0, **more):
    """A network whose every weight matters and whose query vectors are its representations."""
    keras.utils.set_random_seed(seed)
    settings = {"window": 6, "dim": 8, "dropout": 0.0, "negatives": 3}
    model = kind(sizes, **settings | {"similarity": "dot", "temperature": 1.0} | more)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    return model


def domain_of(item, sizes=SIZES):
    """Domain of an item id; ids are contiguous by domain from 1."""
    return int(np.searchsorted(np.cumsum(sizes), item - 1, side="right"))


def norm(x, scale=1.0, offset=0.0):
    """Layer normalisation of a vector."""
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * scale + offset


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def embed(model, items, start):
    """Embedded inputs of a history that is asked for what comes next, `[1 + items, dim]`.

    Args:
        model: any network.
        items: ids, no more than fit into the window.
        start: row of the start tokens that stands before them.
    """
    part = model.embedding
    first = part.start_tokens.numpy()[start]
    rows = np.array([first, *(part.items.numpy()[item] for item in items)])
    positions = part.positions.numpy()[model.window - len(rows) :]
    return np.array([norm(row) for row in rows + positions])


def attend(layer, rows):
    """What the last of the rows finds in all of them, by `keras.layers.MultiHeadAttention`."""
    w_q, w_k, w_v, w_out = (
        dense.kernel.numpy()
        for dense in (layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense)
    )
    found = 0.0
    for head in range(w_q.shape[1]):
        query, keys, values = rows[-1] @ w_q[:, head], rows @ w_k[:, head], rows @ w_v[:, head]
        logits = keys @ query / np.sqrt(len(query))
        weights = np.exp(logits - logits.max())
        found += (weights / weights.sum()) @ values @ w_out[head]
    return found


def swiglu(x, gate, up, down):
    """SwiGLU of a vector."""
    opened = x @ gate
    return (opened * sigmoid(opened) * (x @ up)) @ down


def gradients(model, items):
    """`{path of a weight: gradient of the loss, dense}`."""
    with tf.GradientTape() as tape:
        loss = model.batch_losses(items).total
    found = tape.gradient(loss, model.trainable_weights)
    return {
        weight.path: np.zeros(weight.shape) if g is None else tf.convert_to_tensor(g).numpy()
        for weight, g in zip(model.trainable_weights, found, strict=True)
    }


def next_of_domain(items, sizes=SIZES):
    """Of each item the next one of its domain, of the last one the first."""
    items = np.asarray(items)
    first = 1 + np.cumsum(sizes) - np.asarray(sizes)
    domains = np.searchsorted(np.cumsum(sizes), items - 1, side="right")
    moved = first[domains] + (items - first[domains] + 1) % np.asarray(sizes)[domains]
    return np.where(items > 0, moved, items).astype(np.int32)


def representations(model, items, segments=None):
    """What a training compares with items at each slot, `[batch, slots, dim]` each."""
    found: list[np.ndarray] = []
    losses = model.target_losses

    def watched(y, targets, blocks):
        found.extend(blocks.scatter(each, tf.shape(items)).numpy() for each in y)
        return losses(y, targets, blocks)

    model.target_losses = watched
    try:
        model.batch_losses(tf.constant(items), segments, training=False)
    finally:
        del model.target_losses
    return found
