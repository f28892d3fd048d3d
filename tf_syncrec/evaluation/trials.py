"""Ranks the targets of a split in several ways, for which the network is asked once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, take_rows
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.metrics.gains import MISS, SELECTION_METRIC, user_gains
from tf_syncrec.metrics.target_ranks import is_candidate, row_chunks, target_ranks, without
from tf_syncrec.utils.terminal import advance

CUT_OFF = int(SELECTION_METRIC.partition("@")[2])
"""Of a rank behind this one, `SELECTION_METRIC` is 0."""


class Trials(NamedTuple):
    """What several ways to score find, users in the order of the batches.

    Attributes:
        gains: the selection metric, `[users, trials]`.
        domains: domain of the target, `[users]`.
    """

    gains: np.ndarray
    domains: np.ndarray


def rank_trials(
    batches: Batches,
    catalogue: Catalogue,
    count: int,
    ask: Callable[[Any], Any],
    scores: Callable[[Any, Any, int, int], Iterator[tuple[int, Any]]],
) -> Trials:
    """Ranks the targets of a split in several ways.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        count: how many trials there are.
        ask: what the network says of a batch: tensors with a row a user, nested or not.
        scores: yields number and scores `[rows, size]` of each trial; its arguments are some rows
            of what `ask` returned, their histories, and first item id and size of the domain. One
            at a time, as each is as large as what may be held at once.
    """

    def rank(said, items, excluded, targets, offset, size):
        ranks = np.empty([len(targets), count])
        for trial, of_trial in scores(said, items, offset, size):
            ranks[:, trial] = target_ranks(of_trial, excluded, targets, offset)
        return ranks

    return _rank_chunks(batches, catalogue, count, ask, rank)


def rank_votes(
    batches: Batches,
    catalogue: Catalogue,
    weights: Sequence[float],
    kinds: int,
    ask: Callable[[Any], Any],
    scores: Callable[[Any, int, int], Any],
    votes: Callable[[Any], Iterator[tuple[Any, Any]]],
) -> Trials:
    """Ranks the targets of a split with votes of several weights, as `rank_trials` would.

    Votes change the scores of a few hundred items. Of the others, which score the same in all
    trials, the best `CUT_OFF` and one more are enough to tell a gain: a target with so many ahead
    of it has none.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        weights: by which votes are multiplied.
        kinds: how many kinds of votes there are.
        ask: what the network says of a batch: tensors with a row a user, nested or not.
        scores: scores `[rows, size]` without votes; its arguments are some rows of what `ask`
            returned, and first item id and size of the domain.
        votes: yields ids and votes `[rows, any]` of each kind, of histories; the ids of all kinds
            are the same.

    Returns:
        Trials are all kinds with the first of the weights, all with the second, and so on.
    """
    tried = tf.constant(weights, tf.float32)

    def rank(said, items, excluded, targets, offset, size):
        ranks = np.empty([len(targets), len(weights), kinds])
        unchanged = None
        for kind, (ids, of_history) in enumerate(votes(items)):
            if unchanged is None:
                unchanged = _unchanged(
                    scores(said, offset, size), excluded, targets, ids, offset, CUT_OFF + 1
                )
            ranks[:, :, kind] = _ranks_of_weights(*unchanged, ids, of_history, offset, size, tried)
        ranks[~is_candidate(targets, excluded).numpy()] = MISS
        return ranks.reshape(len(targets), -1)

    return _rank_chunks(batches, catalogue, len(weights) * kinds, ask, rank)


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
)
def _unchanged(scores, excluded, targets, ids, offset, best):
    """What all trials of `rank_votes` have in common.

    Returns:
        Place of the target among the items of the domain and its score `[rows]`; places and scores
        of the items of `ids`, each item once, -inf for items that do not compete, `[rows, any]`;
        the `best` scores of all other items, `[rows, best]`.
    """
    sums = tf.debugging.check_numerics(tf.reduce_sum(scores, axis=1), "scores")
    target = tf.maximum(targets - offset, 0)
    size = tf.shape(scores)[1]
    inside = (ids >= offset) & (ids < offset + size)
    places = tf.sort(tf.where(inside, ids - offset, -1), axis=1)
    first = tf.concat([tf.ones_like(inside[:, :1]), places[:, 1:] != places[:, :-1]], axis=1)
    first &= places >= 0
    places = tf.maximum(places, 0)
    with tf.control_dependencies([sums]):
        own = tf.gather(scores, target, batch_dims=1)
    competing = without(scores, excluded, offset)
    voted = tf.where(first, tf.gather(competing, places, batch_dims=1), float("-inf"))
    others = tf.math.top_k(without(competing, ids, offset), tf.minimum(best, size), sorted=False)
    return target, own, places, voted, others.values


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([None], tf.float32),
    ],
)
def _ranks_of_weights(target, own, places, voted, others, ids, votes, offset, size, weights):
    """Ranks with one kind of votes, `[rows, weights]` int32; the arguments are `_unchanged`'s."""
    votes = tf.debugging.check_numerics(votes, "votes")
    of_all = add_votes(tf.zeros([tf.shape(ids)[0], size]), ids, votes, offset)
    votes_of_voted = tf.gather(of_all, places, batch_dims=1)
    votes_of_target = tf.gather(of_all, target, batch_dims=1)

    def rank(weight):
        reached = (own + weight * votes_of_target)[:, None]
        ahead = (others >= reached, voted + weight * votes_of_voted >= reached)
        return tf.add_n([tf.reduce_sum(tf.cast(each, tf.int32), axis=1) for each in ahead])

    return tf.transpose(tf.map_fn(rank, weights, fn_output_signature=tf.int32))


def _rank_chunks(batches, catalogue, count, ask, rank) -> Trials:
    """Ranks `[rows, count]` of some rows at a time; gains of all."""
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    gains, domains = [np.zeros([0, count])], [np.zeros([0], int)]
    for batch in batches:
        domain, targets = int(batch["domain"][0]), batch["target"]
        offset, size = offsets[domain], sizes[domain]
        ranks = np.full([len(targets), count], MISS)  # and stays so in a domain without items
        if size:
            said = ask(batch)
            for chunk in row_chunks(len(targets), size):
                items, excluded = batch["items"][chunk], batch["excluded"][chunk]
                rows = take_rows(said, chunk)
                ranks[chunk] = rank(rows, items, excluded, targets[chunk], offset, size)
        gains.append(user_gains(ranks, SELECTION_METRIC))
        domains.append(np.full(len(targets), domain))
        advance(len(targets))
    return Trials(np.concatenate(gains), np.concatenate(domains))
