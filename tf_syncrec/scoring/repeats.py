"""Fits what coming back to an item is worth, in each domain, on validation."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import user_item_counts
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer, Scorer, take_rows
from tf_syncrec.evaluation.trials import Trials, rank_trials
from tf_syncrec.layers import RepeatConsumption
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.layers.score_terms.repeat_consumption import FEATURES
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.metrics.target_ranks import row_chunks, without
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.choices import best_of_domains

SHARPNESS = (0.1, 0.2, 0.4, 0.8)
"""What is tried for a, by which the other scores are multiplied: the likelihood alone knows too
little of it, since it is about all items, and a ranking about the first ten."""

PRIOR_USERS = 5
"""So many users of each item come back to it as often as those of its domain's items do."""

RIDGE = 10.0
"""What half a squared departure of a domain from what all have in common costs: about as many
targets as this have to ask for it before it moves. What they have in common costs 1."""


def count_returns(model: MultiDomainModel, prepared: Sequences) -> None:
    """Sets how often people come back to each item; does nothing for a model that does not ask.

    Args:
        model: trained.
        prepared: what it was trained on.
    """
    if model.repeats is not None and prepared.catalogue.repeats.any():
        model.repeats.log_returns.assign(log_returns(prepared))


def log_returns(prepared: Sequences) -> np.ndarray:
    """Log of how often a training user of an item came back to it, `[items + 1]` float32.

    With `PRIOR_USERS` more, who are as those of the whole domain; 0 for padding.
    """
    counts, catalogue = user_item_counts(prepared), prepared.catalogue
    users = np.diff(counts.tocsc().indptr)[1:]
    returns = np.asarray(counts.sum(axis=0)).ravel()[1:] - users
    of_domain = np.stack(
        [np.bincount(catalogue.item_domains, x, catalogue.num_domains) for x in (returns, users)]
    )
    usual = (of_domain[0] + 1) / (of_domain[1] + 1)  # of a domain without any it is a number, too
    rate = (returns + PRIOR_USERS * usual[catalogue.item_domains]) / (users + PRIOR_USERS)
    return np.append(0.0, np.log(rate)).astype(np.float32)


def fit_repeats(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the weights of `model.repeats`; does nothing where nobody is to come back.

    Args:
        model: trained, its returns counted, nothing else of its score fitted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what it is worth.
    """
    if model.repeats is not None and catalogue.repeats.any():
        fit_weights(model.repeats, ModelScorer(model), catalogue, validation, report)


def fit_weights(
    layer: RepeatConsumption,
    scorer: Scorer,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the weights of a layer that is to be added to the scores of anybody.

    A conditional logit: `P(c | h) ~ exp(a s(c) + w_d · x(c, h))` is fitted to the targets for each
    a of `SHARPNESS`. The ranking that it gives is that of `s + w_d / a · x`; which of them is best,
    or nothing, says the selection metric, in each domain.

    Args:
        layer: its returns counted.
        scorer: s, without what the layer says.
        catalogue: items and domains; in those that do not repeat the weights are 0.
        validation: from `data.batches.evaluation_batches`.
        report: told what it is worth.
    """
    scorer.refresh()
    observed = _observe(layer, scorer, catalogue, validation)
    tried = np.zeros([1 + len(SHARPNESS), catalogue.num_domains, FEATURES], np.float32)
    for trial, sharpness in enumerate(SHARPNESS, start=1):
        tried[trial] = observed.fit(trial - 1, catalogue.num_domains) / sharpness
    tried[:, ~catalogue.repeats] = 0.0
    found = _try(layer, scorer, catalogue, validation, tried)
    chosen = best_of_domains(found.gains, found.domains, catalogue.num_domains)
    layer.weight.assign(tried[chosen, np.arange(catalogue.num_domains)])
    if len(found.gains):
        fitted = np.take_along_axis(found.gains, chosen[found.domains][:, None], axis=1).mean()
        report(
            f"Coming back to what one had: validation {SELECTION_METRIC} {fitted:.4f}, "
            f"without {found.gains[:, 0].mean():.4f}"
        )


@dataclasses.dataclass(frozen=True)
class _Choices:
    """What users with a history in the domain of their target had to choose from.

    The items of a user stand side by side.

    Attributes:
        starts: `[users]`, place of each one's first item.
        domains: `[users]`.
        others: `[users, SHARPNESS]` float64, log of what all other items of the domain add up to.
        scores: `[items]` float32, by the scorer.
        numbers: `[items, 2]` float32, the features that are numbers.
        buckets: `[items]`, which of the other features is 1.
        chosen: `[items]` bool, the target.
    """

    starts: np.ndarray
    domains: np.ndarray
    others: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray
    buckets: np.ndarray
    chosen: np.ndarray

    def fit(self, sharpness: int, num_domains: int) -> np.ndarray:
        """The likeliest weights for one of `SHARPNESS`, `[num_domains, FEATURES]`."""
        if not len(self.starts):
            return np.zeros([num_domains, FEATURES])
        lengths = np.diff(np.append(self.starts, len(self.scores)))
        users = np.repeat(np.arange(len(self.starts)), lengths)
        places = self.domains[users] * FEATURES  # of an item's weights, in a flat table
        scores, others = SHARPNESS[sharpness] * self.scores, self.others[:, sharpness]
        columns = [*self.numbers.T.astype(float)]

        def logits(table):
            of_numbers = sum(x * table[places + f] for f, x in enumerate(columns))
            return scores + of_numbers + table[places + len(columns) + self.buckets]

        def loss(flat):
            common, own = np.split(flat.reshape(num_domains + 1, FEATURES), [1])
            each = logits((common + own).ravel())
            # Over the largest of a user, so that no exponential overflows.
            largest = np.maximum(np.maximum.reduceat(each, self.starts), others)
            odds = np.exp(each - largest[users])
            totals = np.add.reduceat(odds, self.starts) + np.exp(others - largest)
            surplus = odds / totals[users] - self.chosen
            size = num_domains * FEATURES
            gradient = np.bincount(places + len(columns) + self.buckets, surplus, size)
            for f, x in enumerate(columns):
                gradient += np.bincount(places + f, surplus * x, size)
            gradient = gradient.reshape(num_domains, FEATURES)
            value = np.sum(largest + np.log(totals)) - each[self.chosen].sum()
            return (
                value + np.sum(common**2) / 2 + RIDGE * np.sum(own**2) / 2,
                np.concatenate([gradient.sum(axis=0) + common, gradient + RIDGE * own]).ravel(),
            )

        start = np.zeros((num_domains + 1) * FEATURES)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        common, own = np.split(found.x.reshape(num_domains + 1, FEATURES), [1])
        return common + own


def _observe(
    layer: RepeatConsumption, scorer: Scorer, catalogue: Catalogue, validation: Batches
) -> _Choices:
    """What the targets of domains to which people come back were chosen from."""
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    none = np.zeros(0, int)
    columns: list[tuple] = [
        (none, none, np.zeros([0, len(SHARPNESS)]), none, np.zeros([0, 2]), none, none > 0)
    ]
    for batch in validation:
        domain = int(batch["domain"][0])
        offset, size = offsets[domain], sizes[domain]
        if not (size and catalogue.repeats[domain]):
            continue
        queries = scorer.queries(batch)
        for chunk in row_chunks(len(batch["target"]), size):
            known = batch["target"][chunk] > 0
            targets = batch["target"][chunk][known].numpy()
            items = tf.boolean_mask(batch["items"][chunk], known)
            scores = tf.convert_to_tensor(
                scorer.scores(take_rows(queries, chunk), offset, size), tf.float32
            )
            scores = tf.boolean_mask(scores, known)
            others = without(scores, items, offset)
            others = np.stack([tf.reduce_logsumexp(a * others, axis=1) for a in SHARPNESS], axis=1)
            ids, numbers, buckets = (part.numpy() for part in layer.features(items))
            local = ids - offset
            rows, places = np.nonzero((local >= 0) & (local < size))
            local = local[rows, places]
            users, counts = np.unique(rows, return_counts=True)
            columns.append(
                (
                    counts,
                    np.full(len(users), domain),
                    others[users],
                    scores.numpy()[rows, local],
                    numbers[rows, places],
                    buckets[rows, places],
                    local == targets[rows] - offset,
                )
            )
    counts, *rest = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _Choices(np.cumsum(counts) - counts, *rest)


def _try(
    layer: RepeatConsumption,
    scorer: Scorer,
    catalogue: Catalogue,
    validation: Batches,
    tried: np.ndarray,
) -> Trials:
    """The selection metric of each user with each of several weights."""

    def scores(queries, items, offset, size):
        others, counted = scorer.scores(queries, offset, size), layer.features(items)
        for trial, weight in enumerate(tried):
            yield trial, add_votes(others, counted[0], layer.gains(counted, weight), offset)

    return rank_trials(validation, catalogue, len(tried), scorer.queries, scores)
