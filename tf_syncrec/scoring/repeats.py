"""Fits what coming back to an item is worth, in each domain, on validation."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import tensorflow as tf
from scipy.optimize import minimize

from data_prep import Catalogue
from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import user_item_counts
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer, Scorer, take_rows, times_of
from tf_syncrec.evaluation.trials import Trials, found_in_parts
from tf_syncrec.layers import RepeatConsumption
from tf_syncrec.layers.score_terms.repeat_consumption import FEATURES, NUMBERS, TOLD
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.metrics.target_ranks import row_chunks, without
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.choices import best_of_domains, mean_gain
from tf_syncrec.scoring.votes import rank_votes
from tf_syncrec.utils.parallel import parallel_map

SHARPNESS = (0.1, 0.2, 0.4, 0.8)
"""What is tried for a, by which the other scores are multiplied: the likelihood alone knows too
little of it, since it is about all items, and a ranking about the first ten."""

USERS_MORE = 5
"""So many users more of each item come back to it as often as those of its domain's items do."""

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

    With `USERS_MORE` more, who are as those of the whole domain; 0 for padding.
    """
    counts, catalogue = user_item_counts(prepared), prepared.catalogue
    users = np.diff(counts.tocsc().indptr)[1:]
    returns = np.asarray(counts.sum(axis=0)).ravel()[1:] - users
    of_domain = np.stack(
        [np.bincount(catalogue.item_domains, x, catalogue.num_domains) for x in (returns, users)]
    )
    usual = (of_domain[0] + 1) / (of_domain[1] + 1)  # of a domain without any it is a number, too
    rate = (returns + USERS_MORE * usual[catalogue.item_domains]) / (users + USERS_MORE)
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
    if model.repeats is not None:
        told = (None, *TIMED) if model.time_inputs else (None,)
        scorers = [ModelScorer(model, told=each) for each in told]
        fit_weights(model.repeats, scorers, catalogue, validation, report)


def fit_weights(
    layer: RepeatConsumption,
    scorers: Sequence[Scorer],
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets the weights of a layer that is to be added to the scores of anybody.

    A conditional logit: `P(c | h) ~ exp(a s(c) + w_d · x(c, h))` is fitted to the targets for each
    a of `SHARPNESS`. The ranking that it gives is that of `s + w_d / a · x`; which of them is best,
    or nothing, says the selection metric, in each domain. Likewise for all that a request may tell
    of times.

    Args:
        layer: its returns counted.
        scorers: s, one for each `TOLD`, or one for all. They may have the layer, which says nothing
            while it is fitted.
        catalogue: items and domains; in those that do not repeat the weights are 0.
        validation: from `data.batches.evaluation_batches`.
        report: told what it is worth.
    """
    layer.reset()
    if not catalogue.repeats.any():
        return
    for each in scorers:
        each.refresh()
    tried = np.zeros([1 + len(SHARPNESS), TOLD, catalogue.num_domains, FEATURES], np.float32)
    # Of what is fitted nothing has a say yet, so each part of the users is asked once.
    observe = functools.partial(_observe, layer, scorers, catalogue)
    parts = found_in_parts(validation, "choices", observe)
    for told, observed in enumerate(map(_joined, zip(*parts, strict=True))):
        fitted = observed.fit(catalogue.num_domains)
        for trial, (sharpness, weights) in enumerate(zip(SHARPNESS, fitted, strict=True), start=1):
            tried[trial, told] = weights / sharpness
    tried[:, :, ~catalogue.repeats] = 0.0
    found = _try(layer, scorers, catalogue, validation, tried)
    weight, best = np.empty_like(tried[0]), []
    for told, gains in enumerate(np.split(found.gains, TOLD, axis=1)):
        chosen = best_of_domains(gains, found.domains, catalogue.num_domains)
        weight[told] = tried[chosen, told, np.arange(catalogue.num_domains)]
        if len(gains):
            best.append(mean_gain(gains, found.domains, chosen))
    layer.weight.assign(weight)
    if best:
        report(
            f"Repeat consumption: validation {SELECTION_METRIC} {best[0]:.4f}, without "
            f"{found.gains[:, 0].mean():.4f}; with timestamps {best[1]:.4f}, and request time "
            f"{best[2]:.4f}"
        )


@dataclass(frozen=True)
class _Choices:
    """What users with a history in the domain of their target had to choose from.

    The items of a user stand side by side.

    Attributes:
        counts: `[users]`, how many items each one had to choose from.
        domains: `[users]`.
        others: `[users, SHARPNESS]` float64, log of what all other items of the domain add up to.
        scores: `[items]` float32, by the scorer.
        numbers: `[items, NUMBERS]` float32, the features that are numbers.
        buckets: `[items, 2]`, which of the other features are 1.
        chosen: `[items]` bool, the target.
    """

    counts: np.ndarray
    domains: np.ndarray
    others: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray
    buckets: np.ndarray
    chosen: np.ndarray

    def fit(self, num_domains: int) -> Iterator[np.ndarray]:
        """The likeliest weights for each of `SHARPNESS`, `[num_domains, FEATURES]`."""
        users = np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)
        starts = np.cumsum(self.counts) - self.counts
        # Of each item the places of its weights in a flat table: of the numbers, of the bucket.
        first = (self.domains[users] * FEATURES).astype(np.int32)
        numbers = [(first + f, x.astype(float)) for f, x in enumerate(self.numbers.T) if x.any()]
        buckets = [first + which for which in self.buckets.T]
        fitted = np.zeros((num_domains + 1) * FEATURES)

        def loss(flat, scores, others):
            common, own = np.split(flat.reshape(num_domains + 1, FEATURES), [1])
            table = (common + own).ravel()
            logits = np.array(scores)
            for places in buckets:
                logits += table[places]
            for places, x in numbers:
                logits += x * table[places]
            # Over the largest of a user, so that no exponential overflows.
            largest = np.maximum(np.maximum.reduceat(logits, starts), others)
            odds = np.exp(logits - largest[users])
            totals = np.add.reduceat(odds, starts) + np.exp(others - largest)
            surplus = odds / totals[users] - self.chosen
            gradient = np.zeros(table.size)
            for places in buckets:
                gradient += np.bincount(places, surplus, table.size)
            for places, x in numbers:
                gradient += np.bincount(places, surplus * x, table.size)
            gradient = gradient.reshape(num_domains, FEATURES)
            value = np.sum(largest + np.log(totals)) - logits[self.chosen].sum()
            return (
                value + np.sum(common**2) / 2 + RIDGE * np.sum(own**2) / 2,
                np.concatenate([gradient.sum(axis=0) + common, gradient + RIDGE * own]).ravel(),
            )

        for sharpness, others in zip(SHARPNESS, self.others.T, strict=True):
            if len(self.counts):
                found = minimize(
                    loss,
                    fitted,
                    args=(sharpness * self.scores, others),
                    jac=True,
                    method="L-BFGS-B",
                    options={"maxiter": 500},
                )
                fitted = found.x  # nearly that of the next, too
            common, own = np.split(fitted.reshape(num_domains + 1, FEATURES), [1])
            yield common + own


def _joined(parts: Sequence[_Choices]) -> _Choices:
    """Those of all users."""
    columns = [[getattr(part, field.name) for part in parts] for field in fields(_Choices)]
    return _Choices(*map(np.concatenate, columns))


def _observe(
    layer: RepeatConsumption,
    scorers: Sequence[Scorer],
    catalogue: Catalogue,
    validation: Batches,
) -> list[_Choices]:
    """What the targets of domains to which people come back were chosen from, for each `TOLD`.

    Scores are those of one scorer for each `TOLD`, or of one for all.
    """
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    none = np.zeros(0, int)
    nobody: tuple[tuple, ...] = (
        (none, none, none > 0),
        (np.zeros([0, len(SHARPNESS)]), none) * len(scorers),
        (np.zeros([0, NUMBERS]), np.zeros([0, 2], int)) * TOLD,
    )

    def of_batch(batch) -> list[tuple[tuple, ...]]:
        chunks: list[tuple[tuple, ...]] = []
        domain = int(batch["domain"][0])
        offset, size = offsets[domain], sizes[domain]
        if not (size and catalogue.repeats[domain]):
            return chunks
        queries, told = [scorer.queries(batch) for scorer in scorers], _told(batch)
        for chunk in row_chunks(len(batch["target"]), size):
            known = batch["target"][chunk] > 0
            targets = batch["target"][chunk][known].numpy()
            items = tf.boolean_mask(batch["items"][chunk], known)
            counted = [
                layer.features(items, *(tf.boolean_mask(part[chunk], known) for part in times))
                for times in told
            ]
            local = counted[0].ids.numpy() - offset
            rows, places = np.nonzero((local >= 0) & (local < size))
            local = local[rows, places]
            users, counts = np.unique(rows, return_counts=True)
            of_chunk: list[np.ndarray] = []
            for scorer, asked in zip(scorers, queries, strict=True):
                scores = tf.convert_to_tensor(
                    scorer.scores(take_rows(asked, chunk), offset, size), tf.float32
                )
                scores = tf.boolean_mask(scores, known)
                others = without(scores, items, offset)
                others = [tf.reduce_logsumexp(a * others, axis=1) for a in SHARPNESS]
                of_chunk += [np.stack(others, axis=1)[users], scores.numpy()[rows, local]]
            of_items = [(each.numbers.numpy(), each.buckets.numpy()) for each in counted]
            chunks.append(
                (
                    (counts, np.full(len(users), domain), local == targets[rows] - offset),
                    tuple(of_chunk),
                    tuple(part[rows, places] for each in of_items for part in each),
                )
            )
        return chunks

    chunks = itertools.chain([nobody], *parallel_map(of_batch, validation))
    (counts, domains, chosen), scores, parts = map(_columns, zip(*chunks, strict=True))
    scores *= TOLD // len(scorers)
    return [
        _Choices(counts, domains, others, of_scorer, numbers, buckets, chosen)
        for others, of_scorer, numbers, buckets in zip(
            scores[::2], scores[1::2], parts[::2], parts[1::2], strict=True
        )
    ]


def _told(batch) -> list[tuple]:
    """What a request may tell of times, for each `TOLD`."""
    return [times_of(batch, told) for told in (None, *TIMED)]


def _columns(rows: Sequence[tuple]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _try(
    layer: RepeatConsumption,
    scorers: Sequence[Scorer],
    catalogue: Catalogue,
    validation: Batches,
    tried: np.ndarray,
) -> Trials:
    """The selection metric of each user with each of several weights, for each `TOLD`."""

    def rank(scorer: Scorer, told: Sequence[str | None]) -> Trials:
        """What is tried on top of a scorer, for some of what a request may tell of times."""

        def ask(batch):
            return scorer.queries(batch), [times_of(batch, each) for each in told]

        def scores(said, offset, size):
            return scorer.scores(said[0], offset, size)

        def votes(said, items):
            for times in said[1]:
                counted = layer.features(items, *times)
                for weight in tried:
                    yield counted.ids, layer.gains(counted, weight)

        kinds = len(told) * len(tried)
        return rank_votes(validation, catalogue, [1.0], kinds, ask, scores, votes)

    every = (None, *TIMED)
    shares = [every] if len(scorers) == 1 else [(told,) for told in every]
    found = [rank(scorer, share) for scorer, share in zip(scorers, shares, strict=True)]
    return Trials(np.concatenate([each.gains for each in found], axis=1), found[0].domains)
