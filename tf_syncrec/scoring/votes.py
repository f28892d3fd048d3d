"""Fits the votes of neighbours: lists by counting or likeness, weight and decay on validation."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_attributes import compared
from tf_syncrec.data.item_similarity import like_items, similar_items, user_items
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer
from tf_syncrec.evaluation.trials import (
    CUT_OFF,
    Trials,
    rank_chunks,
    score_so_far,
    trials_of,
)
from tf_syncrec.layers import ItemNeighbours, UserNeighbours
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.metrics.gains import MISS, SELECTION_METRIC
from tf_syncrec.metrics.target_ranks import is_candidate, without
from tf_syncrec.models.base import MultiDomainModel

SHRINKAGE = 10.0
"""Takes from similarities that few users support; what tuned item-kNN has as well."""

WEIGHTS = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0)
LIKENESS_WEIGHTS = (0.0, 1.0, 2.0, 4.0, 8.0)
DECAYS = (0.5, 0.7, 0.9)
"""Weights and decays that are tried on validation; with the first ones nobody votes. Similarities
by attributes are larger than those by users."""

USER_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
BACKWARD = (0.0, 0.2, 0.4, 0.7)
"""Likewise of `UserNeighbours`: what the interactions before the last shared item weigh."""


def count_neighbours(model: MultiDomainModel, prepared: Sequences) -> None:
    """Sets the lists of all that votes for neighbours; does nothing where a model asks for nothing.

    Args:
        model: trained.
        prepared: what it was trained on.
    """
    if model.neighbours is not None:
        found = similar_items(user_items(prepared), model.neighbours.count, SHRINKAGE)
        model.neighbours.set_lists(*found)
    count_like_items(model, prepared.catalogue)


def count_like_items(model: MultiDomainModel, catalogue: Catalogue) -> None:
    """Sets the lists of those that vote by attributes.

    Args:
        model: a trained one.
        catalogue: its items.
    """
    attributes = model.embedding.attributes
    if attributes is None:
        return
    assert model.item_encoder is not None  # whoever has attributes had it with them
    ids, shares, vectors = attributes.given()
    known = compared(ids, shares, model.item_encoder.column_of, vectors)
    for layer, cold in ((model.likeness, False), (model.new_items, True)):
        if layer is not None:
            listed = np.append(False, (catalogue.counts == 0) == cold)
            layer.set_lists(*like_items(known, layer.count, listed))


def fit_votes(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the weight, and what else they have, of all who vote, where there are such.

    First like users, then co-occurring items, then items with like attributes.

    They are those with the best validation metric, of equals the first tried, so the weight is 0
    where counting has nothing to add.

    Args:
        model: trained, its neighbours counted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    if model.user_neighbours is not None:
        _fit_user_votes(model, model.user_neighbours, catalogue, validation, report)
    for layer, weights, whose in (
        (model.neighbours, WEIGHTS, "co-occurring neighbours"),
        (model.likeness, LIKENESS_WEIGHTS, "neighbours by attributes"),
    ):
        if layer is None:
            continue
        layer.reset()
        with_decays = functools.partial(_with_decays, layer)
        weight, decay, found = _best(
            model, layer, weights, DECAYS, _histories, with_decays, catalogue, validation
        )
        layer.weight.assign(weight)
        layer.decay.assign(decay)
        report(f"Votes of {layer.count} {whose}: weight {weight:g}, decay {decay:g}; {found}")


def _histories(scorer: ModelScorer, batch):
    return batch["items"]


def _with_decays(layer: ItemNeighbours, items) -> Iterator[tuple[Any, Any]]:
    for decay in DECAYS:  # one after the other, as each takes as much memory as the scores
        yield layer.votes(items, decay)


def _fit_user_votes(
    model: MultiDomainModel,
    layer: UserNeighbours,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """The same of the votes of like users, who are looked for once."""
    layer.reset()

    def with_backward(votes):
        for backward in BACKWARD:
            yield votes.ids, votes.after + backward * votes.before

    weight, backward, found = _best(
        *(model, layer, USER_WEIGHTS, BACKWARD, ModelScorer.like_users, with_backward),
        *(catalogue, validation),
    )
    layer.weight.assign(weight)
    layer.backward.assign(backward)
    report(f"Votes of {layer.count} like users: weight {weight:g}, backward {backward:g}; {found}")


def _best(
    model: MultiDomainModel,
    layer: keras.layers.Layer,
    weights: Sequence[float],
    others: Sequence[float],
    asked: Callable[[ModelScorer, Any], Any],
    votes: Callable[[Any], Iterator[tuple[Any, Any]]],
    catalogue: Catalogue,
    validation: Batches,
) -> tuple[float, float, str]:
    """The best weight, the best of the other number that votes have, and what they gain in words.

    Args:
        model: trained, whose `layer` does not vote yet.
        layer: whose votes they are.
        weights: that are tried.
        others: likewise.
        asked: what the votes of a batch are made of: tensors with a row a user.
        votes: yields ids and votes of that for each of `others`, all of the same ids.
        catalogue: as of `fit_votes`.
        validation: likewise.
    """

    def rank(batches: Batches) -> Trials:
        scorer = ModelScorer(model)
        scorer.refresh()
        return rank_votes(
            batches,
            catalogue,
            weights,
            len(others),
            lambda batch: (scorer.queries(batch), asked(scorer, batch)),
            lambda said, offset, size: scorer.scores(said[0], offset, size),
            lambda said, items: votes(said[1]),
        )

    gains = trials_of(validation, (layer.name, score_so_far(model)), rank).gains
    best = int(np.argmax(gains.sum(axis=0)))
    weight, other = list(itertools.product(weights, others))[best]
    of_best, without = gains[:, [best, 0]].mean(axis=0) if len(gains) else (0.0, 0.0)
    found = f"validation {SELECTION_METRIC} {of_best:.4f}, without {without:.4f}"
    return weight, other, found


def rank_votes(
    batches: Batches,
    catalogue: Catalogue,
    weights: Sequence[float],
    kinds: int,
    ask: Callable[[Any], Any],
    scores: Callable[[Any, int, int], Any],
    votes: Callable[[Any, Any], Iterator[tuple[Any, Any]]],
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
        votes: yields ids and votes `[rows, any]` of each kind; its arguments are some rows of what
            `ask` returned, and their histories. The ids of all kinds are the same.

    Returns:
        Trials are all kinds with the first of the weights, all with the second, and so on.
    """
    tried = tf.constant(weights, tf.float32)

    def rank(said, items, excluded, targets, offset, size):
        ranks = np.empty([len(targets), len(weights), kinds])
        unchanged = None
        for kind, (ids, of_history) in enumerate(votes(said, items)):
            if unchanged is None:
                unchanged = _unchanged(
                    scores(said, offset, size), excluded, targets, ids, offset, CUT_OFF + 1
                )
            ranks[:, :, kind] = _ranks_of_weights(*unchanged, ids, of_history, offset, size, tried)
        ranks[~is_candidate(targets, excluded).numpy()] = MISS
        return ranks.reshape(len(targets), -1)

    return rank_chunks(batches, catalogue, len(weights) * kinds, ask, rank)


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
