"""What a score is made of: the views, votes of items and of like users, coming back, trend."""

import tensorflow as tf

from tf_syncrec.layers.views import item_domains
from tf_syncrec.models.base import MultiDomainModel


def score_parts(model: MultiDomainModel, items, targets) -> dict[str, tf.Tensor]:
    """The parts of some items' scores; those of an item add up to its score.

    Args:
        model: one that is asked by histories.
        items: `[batch, length]` int32, histories, oldest first, padded with 0 on the left.
        targets: `[batch, n]` int32, items to be explained, of any domains; 0 is none.

    Returns:
        `votes`: `[batch, n, length]`, what each place of the history adds by the items that the
        same users had, and by those with like attributes. `similar_users`, what those say who had
        most of the history; `coming_back`, because the item itself is in the history, without
        times; `popular_lately`, or new; and of a model whose two views are weighted `single` and
        `cross`, else `network`: each `[batch, n]`. All float32; 0 of no item.
    """
    known = tf.cast(targets > 0, tf.float32)
    parts = {
        "votes": _votes(model, items, targets) * known[..., None],
        "similar_users": _said_by(model.user_neighbours, items, targets) * known,
        "coming_back": _said_by(model.repeats, items, targets) * known,
        "popular_lately": known * (0.0 if model.trend is None else model.trend(targets)),
    }
    of_views = {name: score * known for name, score in _views(model, items, targets).items()}
    return of_views | parts


def _views(model, items, targets) -> dict[str, tf.Tensor]:
    """Scores by what the network looks for in the domain of each target."""
    domains = tf.tile(tf.range(model.num_domains)[None], [tf.shape(items)[0], 1])
    own = tf.maximum(item_domains(targets, model.offsets), 0)
    candidates = model.candidate_vectors(targets)

    def products(queries):
        of_domains = tf.broadcast_to(
            queries, tf.concat([tf.shape(domains), tf.shape(queries)[2:]], axis=0)
        )
        asked = tf.gather(of_domains, own, batch_dims=1)
        # Each target is a row of its own, since it has the query of its domain.
        rows = [tf.reshape(x, [tf.size(targets), tf.shape(x)[2]]) for x in (asked, candidates)]
        found = model.candidate_scores(rows[0], rows[1][:, None])
        return tf.reshape(found, tf.shape(targets))

    if model.view_weights is None:
        return {"network": products(model.query_vectors(items, domains))}
    found = zip(model.view_queries(items, domains), model.view_weights(own), strict=True)
    single, cross = (products(queries) * weight for queries, weight in found)
    return {"single": single, "cross": cross}


def _votes(model, items, targets):
    shape = tf.shape(items)
    found = tf.zeros([shape[0], tf.shape(targets)[1], shape[1]])
    for layer in (model.neighbours, model.likeness, model.new_items):
        if layer is not None:
            found += _votes_of(layer, items, targets)
    return found


def _votes_of(layer, items, targets):
    shape = tf.shape(items)
    ids, votes = layer(items)
    voting = tf.minimum(shape[1], layer.history)
    of_places = [shape[0], 1, voting, layer.count]
    ids, votes = tf.reshape(ids, of_places), tf.reshape(votes, of_places)
    for_targets = tf.where(ids == targets[:, :, None, None], votes, 0.0)
    return tf.pad(tf.reduce_sum(for_targets, axis=-1), [[0, 0], [0, 0], [shape[1] - voting, 0]])


def _said_by(voter, items, targets):
    """Votes for the targets, `[batch, n]`; 0 where there is nobody."""
    if voter is None:
        return tf.zeros(tf.shape(targets))
    ids, votes = voter(items)
    return tf.reduce_sum(tf.where(ids[:, None] == targets[..., None], votes[:, None], 0.0), axis=-1)
