"""Cuts a user's merged sequence into the two aligned views that the model reads."""

from typing import NamedTuple

import tensorflow as tf

PAD = 0
CROSS_SOS = -1
"""Token of the cross view's (SOS); the (SOS) of domain ``d`` is ``-2 - d``."""


class View(NamedTuple):
    """One view of a batch: what stands in each slot and who may look at whom.

    Attributes:
        tokens: `[batch, slots]` int32: an item id (> 0), `PAD`, or a start token (< 0).
        domains: `[batch, slots]` int32: domain of the item to be predicted at the slot; -1 pads.
        positions: `[batch, slots]` int32 in `[0, window)`, row of the position embedding P.
        mask: `[batch, slots, slots]` bool: slot (row) may attend to slot (column).
    """

    tokens: tf.Tensor
    domains: tf.Tensor
    positions: tf.Tensor
    mask: tf.Tensor


def item_domains(items: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Domain index of every item id; -1 for padding.

    Ids are contiguous by domain, so a binary search over |D| offsets replaces a table of |V| rows.

    Args:
        items: int32 ids of any shape.
        offsets: `[domains]` int32, first id of each domain (ids start at 1).
    """
    flat = tf.searchsorted(offsets, tf.reshape(items, [-1]), side="right") - 1
    return tf.reshape(flat, tf.shape(items))


def split_views(
    items: tf.Tensor, queries: tf.Tensor | None, offsets: tf.Tensor, window: int
) -> tuple[View, View]:
    """Cuts merged sequences into the cross view and the packed single view (paper 4.1, Fig. 2).

    Slot t of either view predicts the same item x_t. The cross view holds x_{t-1} there. The single
    view holds the predecessor of x_t *within the domain of x_t*, or that domain's (SOS), and sees
    earlier slots of that domain only: |D| left-padded single-domain passes in one, without a slot
    to spare for any number of domains.

    Args:
        items: `[batch, length]` int32, oldest first, padded with 0 on the left.
        queries: `[batch, num_queries]` int32 domains to predict the *next* item in, no domain twice
            in a row; or None in training, when each item is the target of the slot before it.
        offsets: `[domains]` int32, first item id of each domain.
        window: T, the number of positions; the most recent T inputs are kept.

    Returns:
        `(cross, single)`. In training both have min(length, T) slots. With queries the cross view
        has min(length + 1, T) slots, the last of which answers every query, and the single view
        one slot per query at its end.
    """
    if queries is None:
        tokens = items[:, -(window + 1) :]
        # A column for (SOS) where no row is longer than the window.
        tokens = tf.cond(
            tf.shape(tokens)[1] <= window, lambda: tf.pad(tokens, [[0, 0], [1, 0]]), lambda: tokens
        )
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        slot_domains = item_domains(targets, offsets)
        cross_valid = slot_domains >= 0
    else:
        inputs = tf.pad(items, [[0, 0], [1, 0]])[:, -window:]
        slot_domains = tf.concat([item_domains(inputs[:, 1:], offsets), queries], axis=1)
        cross_valid = tf.pad(inputs[:, 1:] > 0, [[0, 0], [0, 1]], constant_values=True)

    slots = tf.shape(inputs)[1]
    single_slots = tf.shape(slot_domains)[1]
    single_valid = slot_domains >= 0

    cross_tokens = tf.where(cross_valid & (inputs == PAD), CROSS_SOS, inputs)
    causal = tf.linalg.band_part(tf.ones([slots, slots], tf.bool), -1, 0)
    # A padding slot sees itself, so that no softmax is over nothing; nobody sees a padding slot.
    cross_mask = (causal & cross_valid[:, None, :]) | tf.eye(slots, dtype=tf.bool)
    cross_positions = tf.broadcast_to(tf.range(window - slots, window), tf.shape(inputs))
    cross = View(
        cross_tokens,
        slot_domains if queries is None else tf.where(cross_valid, 0, -1),
        cross_positions,
        cross_mask,
    )

    # Predecessor of slot t in its own domain: the last input at or before t of the same domain.
    input_domains = item_domains(inputs, offsets)
    last_input = tf.minimum(tf.range(single_slots), slots - 1)
    reachable = tf.range(slots)[None, :] <= last_input[:, None]
    found = reachable & (slot_domains[:, :, None] == input_domains[:, None, :])
    latest = tf.reduce_max(tf.where(found, tf.range(slots), -1), axis=2)
    predecessors = tf.gather(inputs, tf.maximum(latest, 0), batch_dims=1)
    single_tokens = tf.where(latest >= 0, predecessors, -2 - slot_domains)
    single_tokens = tf.where(single_valid, single_tokens, PAD)

    same_domain = (slot_domains[:, :, None] == slot_domains[:, None, :]) & single_valid[:, None, :]
    causal = tf.linalg.band_part(tf.ones([single_slots, single_slots], tf.bool), -1, 0)
    single_mask = (causal & same_domain) | tf.eye(single_slots, dtype=tf.bool)
    # Left padding puts a domain's last token at T - 1: count the slots of the domain still to come.
    later = tf.reduce_sum(tf.cast(same_domain & ~causal, tf.int32), axis=2)
    single_positions = tf.maximum(window - 1 - later, 0)
    return cross, View(single_tokens, slot_domains, single_positions, single_mask)
