"""Where a target stands among the scores of its candidates."""

from collections.abc import Callable, Iterator

import tensorflow as tf

from tf_syncrec.metrics.gains import MISS

SCORES_AT_ONCE = 2**23
"""Scores held at a time (32 MiB of float32), whatever the size of the catalogue. Memory for more in
one piece comes from the system anew each time, which must clear it page by page."""


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
)
def target_ranks(scores, excluded, targets, offset):
    """Ranks of targets of one domain among its items.

    Args:
        scores: `[batch, size]` of the domain's items.
        excluded: `[batch, any]` int32, items that are no candidates; 0 is none.
        targets: `[batch]` int32, 0 for a target that training never saw.
        offset: first item id of the domain.

    Returns:
        `[batch]` float64: 1 + the number of competitors that score at least as much; `MISS` for an
        unseen target, and for one that is excluded.

    Raises:
        tf.errors.InvalidArgumentError: a score is not a finite number.
    """
    # Finite vectors may overflow. A sum is infinite or NaN where a part of it is, and takes a third
    # of the time that looking at each part does.
    sums = tf.debugging.check_numerics(tf.reduce_sum(scores, axis=1), "scores")
    end = offset + tf.shape(scores)[1]
    local = tf.where((excluded >= offset) & (excluded < end), excluded - offset, -1)
    local = tf.sort(local, axis=1)  # so that a repeated item can be told from its neighbour
    first = tf.concat([tf.ones_like(local[:, :1], tf.bool), local[:, 1:] != local[:, :-1]], axis=1)
    target = targets - offset
    not_candidates = first & (local >= 0)

    own = tf.gather(scores, tf.maximum(target, 0), batch_dims=1)[:, None]
    others = tf.gather(scores, tf.maximum(local, 0), batch_dims=1)
    # The target's own score is the one that makes this at least 1.
    with tf.control_dependencies([sums]):
        at_least = count_true(scores >= own)
    not_competing = tf.math.count_nonzero(not_candidates & (others >= own), axis=1, dtype=tf.int32)
    possible = is_candidate(targets, excluded)
    return tf.where(possible, tf.cast(at_least - not_competing, tf.float64), MISS)


def is_candidate(targets, excluded):
    """Which targets can be recommended at all, `[batch]` bool.

    Args:
        targets: `[batch]` int32, 0 for a target that training never saw.
        excluded: `[batch, any]` int32, items that are no candidates; 0 is none.
    """
    return (targets > 0) & ~tf.reduce_any(excluded == targets[:, None], axis=1)


def without(scores, items, offset):
    """Takes items out of the scores of a domain, so that they do not compete.

    Args:
        scores: `[rows, size]` of the domain's items.
        items: `[rows, any]` int32; 0 and items of other domains are passed over.
        offset: first item id of the domain.

    Returns:
        The scores, -inf for these items.
    """
    where = tf.where((items >= offset) & (items < offset + tf.shape(scores)[1]))
    columns = tf.cast(tf.gather_nd(items, where) - offset, tf.int64)
    places = tf.stack([where[:, 0], columns], axis=1)
    missing = tf.fill([tf.shape(places)[0]], float("-inf"))
    return tf.tensor_scatter_nd_update(scores, places, missing)


def count_true(true):
    """How many of each row are True, `[batch]` int32."""
    # Eight of them are a word, whose bits are counted: half of the time of adding up numbers.
    rows, size = tf.unstack(tf.shape(true))
    whole = size - size % 8
    words = tf.reshape(tf.cast(true[:, :whole], tf.uint8), [rows, whole // 8, 8])
    bits = tf.raw_ops.PopulationCount(x=tf.bitcast(words, tf.int64))
    left = tf.math.count_nonzero(true[:, whole:], axis=1, dtype=tf.int32)
    return tf.reduce_sum(tf.cast(bits, tf.int32), axis=1) + left


def held_at_once(numbers: int) -> bool:
    """Whether so many numbers may be held in one piece."""
    return numbers <= SCORES_AT_ONCE


def rows_at_once(size):
    """How many rows of `size` scores may be held in one piece, at least 1; number or tensor."""
    if isinstance(size, int):
        return max(SCORES_AT_ONCE // max(size, 1), 1)
    return tf.maximum(SCORES_AT_ONCE // tf.maximum(size, 1), 1)


def row_chunks(rows: int, size: int) -> Iterator[slice]:
    """Cuts the rows of a batch so that `SCORES_AT_ONCE` scores, `size` a row, are held at most.

    Pieces are of about the same number of rows, as each of them reads all item vectors.
    """
    pieces = -(-rows // rows_at_once(size))
    step = -(-rows // max(pieces, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def ranks_by_domain(batch, offsets, sizes, scores_of: Callable):
    """Ranks the targets of rows of any domains, domain by domain and a few rows at a time.

    Args:
        batch: of `data.batches.evaluation_batches`: `excluded` (of other batches, which lack it,
            all `items`), `domain` and `target` are read.
        offsets: `[domains]` int32, first item id of each domain.
        sizes: `[domains]` int32, trained items of each domain.
        scores_of: from places of rows `[n]`, offset and size to scores `[n, size]`.

    Returns:
        `[batch]` float64, as `target_ranks`; in a domain without trained items all are misses.
    """
    order = tf.argsort(batch["domain"], stable=True)
    domains = tf.gather(batch["domain"], order)
    excluded = batch.get("excluded", batch["items"])

    def rank(start, ranks):
        """Rows of one domain, as many as may be scored at once."""
        offset, size = (tf.gather(x, domains[start]) for x in (offsets, sizes))
        end = tf.searchsorted(domains, domains[start, None], side="right")[0]
        rows = order[start : tf.minimum(end, start + rows_at_once(size))]

        def against_all():
            targets, out = tf.gather(batch["target"], rows), tf.gather(excluded, rows)
            return target_ranks(scores_of(rows, offset, size), out, targets, offset)

        missed = tf.fill(tf.shape(rows), tf.constant(MISS, tf.float64))
        found = tf.cond(size > 0, against_all, lambda: missed)
        return start + tf.size(rows), tf.tensor_scatter_nd_update(ranks, rows[:, None], found)

    count = tf.size(order)
    return tf.while_loop(
        lambda start, _: start < count,
        rank,
        (0, tf.zeros_like(order, tf.float64)),
        parallel_iterations=1,
    )[1]
