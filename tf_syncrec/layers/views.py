"""Cuts a user's merged sequence into the two aligned views that the model reads."""

from typing import NamedTuple

import tensorflow as tf

from tf_syncrec.layers.times.moments import Moments, codes

PAD = 0
CROSS_SOS = -1
"""Token of the cross view's (SOS); the (SOS) of domain ``d`` is ``-2 - d``."""


class View(NamedTuple):
    """One view of a batch: what stands in each slot and who may look at whom.

    Attributes:
        tokens: `[batch, slots]` int32: an item id (> 0), `PAD`, or a start token (< 0).
        domains: `[batch, slots]` int32: domain of the item to be predicted at the slot; -1 pads.
        segments: `[batch, slots]` int32: the sequence that the slot belongs to, counted over the
            batch; -1 pads.
        positions: `[batch, slots]` int32 in `[0, window)`, row of the position embedding P.
        mask: `[batch, slots, slots]` bool: slot (row) may attend to slot (column).
        when: `[batch, slots, 2, 3]` int32 of `times.codes`, what the slot is told of times; None
            where no times were given.
    """

    tokens: tf.Tensor
    domains: tf.Tensor
    segments: tf.Tensor
    positions: tf.Tensor
    mask: tf.Tensor
    when: tf.Tensor | None = None

    def targets(self, items: tf.Tensor) -> tf.Tensor:
        """What is to be predicted at each slot, of the `[batch, length]` that it was made of."""
        return items[:, -tf.shape(self.domains)[1] :]


def item_domains(items: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Domain index of every item id; -1 for padding.

    Ids are contiguous by domain, so a binary search over |D| offsets replaces a table of |V| rows.

    Args:
        items: int32 ids of any shape.
        offsets: `[domains]` int32, first id of each domain (ids start at 1).
    """
    flat = tf.searchsorted(offsets, tf.reshape(items, [-1]), side="right") - 1
    return tf.reshape(flat, tf.shape(items))


def check_histories(items: tf.Tensor, num_items: int) -> tf.Tensor:
    """Refuses what no view can be made of; in graphs as well, but XLA leaves it out.

    Args:
        items: `[batch, length]` integer ids, oldest first, padded with 0 on the left.
        num_items: |V|; ids are `1 .. num_items`.

    Returns:
        `items` as int32, which are read after they are checked.

    Raises:
        tf.errors.InvalidArgumentError: a row has padding after an item, or an id that is no item.
    """
    items = tf.convert_to_tensor(items)
    bad = (items < 0) | (items > num_items)
    bad |= tf.pad((items[:, 1:] == PAD) & (items[:, :-1] != PAD), [[0, 0], [1, 0]])
    return _unless_any(
        bad,
        items,
        "items must be histories, oldest first, padded with 0 on the left only, of ids from 1 to "
        f"{num_items}. Received:",
    )


def check_queries(domains: tf.Tensor, num_domains: int) -> tf.Tensor:
    """Refuses domains that cannot be predicted in together.

    Args:
        domains: `[batch, queries]` integer.
        num_domains: |D|; domains are `0 .. num_domains - 1`.

    Returns:
        `domains` as int32, which are read after they are checked.

    Raises:
        tf.errors.InvalidArgumentError: a row has a domain twice, or one that there is not.
    """
    domains = tf.convert_to_tensor(domains)
    equal = domains[:, :, None] == domains[:, None, :]
    twice = tf.reduce_any(tf.linalg.set_diag(equal, tf.zeros_like(domains, tf.bool)), axis=2)
    return _unless_any(
        twice | (domains < 0) | (domains >= num_domains),
        domains,
        f"domains must be from 0 to {num_domains - 1}, each at most once in a row. Received:",
    )


def _unless_any(bad, rows, message):
    """The rows, if nothing of them is bad; else an error that shows the first row that is."""
    first = tf.where(tf.reduce_any(bad, axis=1))[:1, 0]
    if tf.executing_eagerly() and len(first):  # an assertion would begin with its own inside
        shown = tf.gather(rows, first).numpy().tolist()
        raise tf.errors.InvalidArgumentError(None, None, f"{message} {shown}")
    with tf.control_dependencies(
        [tf.Assert(tf.size(first) == 0, [message, tf.gather(rows, first)], summarize=100)]
    ):
        return tf.cast(rows, tf.int32)


def split_views(
    items: tf.Tensor,
    queries: tf.Tensor | None,
    offsets: tf.Tensor,
    window: int,
    segments: tf.Tensor | None = None,
    moments: Moments | None = None,
) -> tuple[View, View]:
    """Cuts merged sequences into the cross view and the packed single view (paper 4.1, Fig. 2).

    Slot t of either view predicts the same item x_t. The cross view holds x_{t-1} there. The single
    view holds the predecessor of x_t *within the domain of x_t*, or that domain's (SOS), and sees
    earlier slots of that domain only: |D| left-padded single-domain passes in one, without a slot
    to spare for any number of domains.

    Several short sequences may share a row (`packing.pack`): a slot then sees its own sequence
    only, and its position is the one it would have alone in a left-padded row.

    Of times a slot is told when its token was, how long after the token before it in the same view,
    and when the item is that it predicts. In the single view all three are of one domain.

    Args:
        items: `[batch, length]` int32, oldest first, padded with 0 on the left.
        queries: `[batch, num_queries]` int32 domains to predict the *next* item in, no domain twice
            in a row; or None in training, when each item is the target of the slot before it.
        offsets: `[domains]` int32, first item id of each domain.
        window: T, the number of positions; the most recent T inputs are kept.
        segments: `[batch, length]` int32, the sequence of each item, counted over the batch, -1 at
            padding; None where each row is one sequence. In training alone.
        moments: when items were, and with queries also when these are asked; None: no times.

    Returns:
        `(cross, single)`. In training both have min(length, T) slots. With queries the cross view
        has min(length + 1, T) slots, the last of which answers every query, and the single view
        one slot per query at its end.
    """
    rows = tf.range(tf.shape(items)[0])[:, None]
    if queries is None:
        if segments is None:
            segments = tf.where(items > 0, rows, -1)
        items, segments = items[:, -(window + 1) :], segments[:, -(window + 1) :]
        # A column for (SOS) where no row is longer than the window.
        missing = tf.cast(tf.shape(items)[1] <= window, tf.int32)
        items = tf.pad(items, [[0, 0], [missing, 0]])
        segments = tf.pad(segments, [[0, 0], [missing, 0]], constant_values=-1)
        # What stands before the first item of a sequence is not its own.
        own = segments[:, :-1] == segments[:, 1:]
        inputs, segments = tf.where(own, items[:, :-1], PAD), segments[:, 1:]
        slot_domains = item_domains(items[:, 1:], offsets)
        single_segments = segments
        cross_domains = slot_domains
        if moments is not None:
            events, due = (
                tf.pad(each[:, -(window + 1) :], [[0, 0], [missing, 0]])
                for each in (moments.events, moments.due)
            )
            events, due = events[:, :-1], due[:, 1:]
            cross_due = due
    else:
        inputs = tf.pad(items, [[0, 0], [1, 0]])[:, -window:]
        segments = tf.where(inputs[:, 1:] > 0, rows, -1)
        single_segments = tf.concat([segments, tf.zeros_like(queries) + rows], axis=1)
        segments = single_segments[:, : tf.shape(inputs)[1]]
        slot_domains = tf.concat([item_domains(inputs[:, 1:], offsets), queries], axis=1)
        cross_domains = tf.where(segments >= 0, 0, -1)  # it answers for every domain
        if moments is not None:
            assert moments.now is not None
            events = tf.pad(moments.events, [[0, 0], [1, 0]])[:, -window:]
            cross_due = tf.concat([events[:, 1:], moments.now[:, None]], axis=1)
            now = tf.repeat(moments.now[:, None], tf.shape(queries)[1], axis=1)
            due = tf.concat([events[:, 1:], now], axis=1)

    cross_tokens = tf.where((segments >= 0) & (inputs == PAD), CROSS_SOS, inputs)
    cross = _view(cross_tokens, cross_domains, segments, _equal(segments), window)

    # Predecessor of slot t in its own domain: the last input at or before t of the same domain.
    slots, single_slots = tf.shape(inputs)[1], tf.shape(slot_domains)[1]
    same_segment = single_segments[:, :, None] == segments[:, None, :]
    same_domain = slot_domains[:, :, None] == item_domains(inputs, offsets)[:, None, :]
    reachable = tf.linalg.band_part(tf.ones([single_slots, slots], tf.bool), -1, 0)
    found = reachable & same_segment & same_domain
    latest = tf.reduce_max(tf.where(found, tf.range(slots), -1), axis=2)
    predecessors = tf.gather(inputs, tf.maximum(latest, 0), batch_dims=1)
    single_tokens = tf.where(latest >= 0, predecessors, -2 - slot_domains)
    single_tokens = tf.where(single_segments >= 0, single_tokens, PAD)
    together = _equal(single_segments) & (slot_domains[:, :, None] == slot_domains[:, None, :])
    single = _view(single_tokens, slot_domains, single_segments, together, window)
    if moments is None:
        return cross, single
    seen = _equal(segments) & (inputs != PAD)[:, None, :]
    seen &= tf.linalg.band_part(tf.ones([slots, slots], tf.bool), -1, 0)
    return (
        cross._replace(when=_when(seen, events, cross_due)),
        single._replace(when=_when(found, events, due)),
    )


def _when(found, events, due):
    """What slots are told of times, as `View.when`.

    Args:
        found: `[batch, slots, inputs]` bool, the tokens of the slot's view up to its own.
        events: `[batch, inputs]` float64 seconds, when these were.
        due: `[batch, slots]` float64 seconds, when the item is that the slot predicts.
    """
    places = tf.range(tf.shape(events)[1])
    latest = tf.reduce_max(tf.where(found, places, -1), axis=2)
    earlier = found & (places < latest[..., None])
    earlier = tf.reduce_max(tf.where(earlier, places, -1), axis=2)
    own, before = (
        tf.gather(events, tf.maximum(each, 0), batch_dims=1) for each in (latest, earlier)
    )
    return codes(own, before, due, latest >= 0, earlier >= 0)


def _equal(segments):
    """`[batch, slots, slots]` bool: both slots belong to the same sequence."""
    return (segments[:, :, None] == segments[:, None, :]) & (segments >= 0)[:, None, :]


def _view(tokens, domains, segments, together, window) -> View:
    """A view in which a slot sees the earlier ones of those it stands `together` with."""
    slots = tf.shape(tokens)[1]
    causal = tf.linalg.band_part(tf.ones([slots, slots], tf.bool), -1, 0)
    # A padding slot sees itself, so that no softmax is over nothing; nobody sees a padding slot.
    mask = (causal & together) | tf.eye(slots, dtype=tf.bool)
    # Left padding puts the last token at T - 1: count the slots still to come.
    later = tf.reduce_sum(tf.cast(together & ~causal, tf.int32), axis=2)
    return View(tokens, domains, segments, tf.maximum(window - 1 - later, 0), mask)
