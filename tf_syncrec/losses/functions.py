"""Ranking losses: one function each, from scores to the negative log-likelihood of a target.

All take `positive` `[...]`, the score of the target, `negative` `[..., negatives]`, scores of items
sampled uniformly from the target's domain, and `sampling_rate` `[...]`, the share of the domain's
items that was drawn, above 0 and at most 1, and return `[...]`. A small domain comes as a whole.
What is no negative, a sampled item that happens to be the target or the padding of a small domain,
arrives with a score of `EXCLUDED`, at which no loss feels it.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

EXCLUDED = -1e9

LOSSES: dict[str, Callable] = {}
"""All by name."""


def register(loss: Callable) -> Callable:
    """Decorates a loss, so that it can be chosen by its name and is found when a model is loaded.

    ```python
    @register
    def hinge(positive, negative, sampling_rate):
        return tf.nn.relu(1.0 - positive + tf.reduce_max(negative, axis=-1))
    ```
    """
    keras.saving.register_keras_serializable("tf_syncrec")(loss)
    LOSSES[loss.__name__] = loss
    return loss


def get(identifier: str | dict[str, Any] | Callable) -> Callable:
    """The loss that is meant.

    Args:
        identifier: a name, what `serialize` gave, a function as above, or an object that is called
            like one; to be saved, an object has a `get_config` and is registered with Keras.
    """
    if isinstance(identifier, dict):
        identifier = keras.saving.deserialize_keras_object(identifier)
    loss = LOSSES.get(identifier) if isinstance(identifier, str) else identifier
    # A loss of Keras takes labels and predictions, which is something else.
    if not callable(loss) or isinstance(loss, keras.losses.Loss):
        raise ValueError(
            f"loss must be one of {sorted(LOSSES)}, or a function. Received: {identifier!r}"
        )
    return loss


def serialize(loss: Callable) -> str | dict[str, Any]:
    """What `get` makes the loss of again: its name, or the dict that Keras makes of others."""
    name = getattr(loss, "__name__", "")
    return name if LOSSES.get(name) is loss else keras.saving.serialize_keras_object(loss)


@register
def bpr_sigmoid(positive, negative, sampling_rate):
    """The paper's loss, `-log σ(P⁺ - P⁻)` with `P = σ(score)` (Eq. 8), averaged over negatives.

    P lies in (0, 1), so the loss lies between 0.31 and 1.31 and its gradient vanishes when scores
    are large.
    """
    return bpr(tf.sigmoid(positive), _where_real(negative, tf.sigmoid(negative)), sampling_rate)


@register
def bpr(positive, negative, sampling_rate):
    """Bayesian personalised ranking on raw scores (Rendle et al., 2009)."""
    return _mean_real(tf.nn.softplus(negative - positive[..., None]), negative)


@register
def bce(positive, negative, sampling_rate):
    """Binary cross-entropy of one positive and the mean over negatives, as in SASRec."""
    return tf.nn.softplus(-positive) + _mean_real(tf.nn.softplus(negative), negative)


@register
def top1(positive, negative, sampling_rate):
    """TOP1 of GRU4Rec, `σ(s_j - s_i) + σ(s_j²)` averaged over negatives j of a target i.

    Hidasi et al., ICLR 2016, section 3.1.3. The first term is the share of negatives above the
    target, made smooth; the second one pulls scores of negatives to 0 from both sides.
    """
    return _mean_real(
        tf.sigmoid(negative - positive[..., None]) + tf.sigmoid(tf.square(negative)), negative
    )


@register
def gbce(positive, negative, sampling_rate, calibration=0.75):
    """Generalised binary cross-entropy of gSASRec (Petrov and Macdonald, RecSys 2023).

    The positive's likelihood is raised to β, which undoes the overconfidence that few negatives
    cause; `calibration` is the paper's t.
    """
    beta = sampling_rate * (calibration * (1.0 - 1.0 / sampling_rate) + 1.0 / sampling_rate)
    count = tf.reduce_sum(tf.cast(negative > EXCLUDED / 2, positive.dtype), axis=-1)
    negatives = count * _mean_real(tf.nn.softplus(negative), negative)
    return (beta * tf.nn.softplus(-positive) + negatives) / (count + 1.0)


@register
def sampled_softmax(positive, negative, sampling_rate):
    """Cross-entropy of the target among itself and the sampled items.

    Sampling is uniform within the domain, so the correction by the log-probability is one constant
    for all negatives. It is left out, which weighs the target as one among the sampled items and
    not among all of the domain.
    """
    logits = tf.concat([positive[..., None], negative], axis=-1)
    return tf.reduce_logsumexp(logits, axis=-1) - positive


def _where_real(negative, value):
    return tf.where(negative > EXCLUDED / 2, value, EXCLUDED)


def _mean_real(values, negative):
    real = tf.cast(negative > EXCLUDED / 2, values.dtype)
    return tf.math.divide_no_nan(
        tf.reduce_sum(tf.where(real > 0, values, 0.0), axis=-1), tf.reduce_sum(real, axis=-1)
    )
