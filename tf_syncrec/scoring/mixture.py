"""Fits how scores of different domains compare, on validation."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.special import log_softmax

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, ModelScorer, take_rows
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.metrics.target_ranks import is_candidate, row_chunks, without
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.choices import listed
from tf_syncrec.utils.parallel import parallel_map

SHARPNESS = 2.0 ** np.arange(-5.0, 5.5, 0.5)
"""What is tried for a; between these the likelihood is a spline of log a."""

PRIOR_USERS = 100
"""In each domain, everybody counts as so many users of the domain's own."""

RIDGE = 10.0
"""What half a squared departure from the popularity of a domain costs: about as many users as this
have to ask for it before it moves."""


def fit_mixture(
    model: MultiDomainModel,
    catalogue: Catalogue,
    validation: Batches,
    report: Callable[[str], None],
) -> None:
    """Sets `model.mixture`; does nothing where fewer than two domains have items.

    Its two parts are fitted apart, both by likelihood: the domain of the target given the history,
    and the target given its domain.

    Args:
        model: trained, all else of its score fitted.
        catalogue: items and domains of what it was trained on.
        validation: from `data.batches.evaluation_batches`.
        report: told what was chosen.
    """
    mixture = model.mixture
    if np.count_nonzero(catalogue.sizes) < 2:
        return
    scorer = ModelScorer(model)
    scorer.refresh()
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time

    def asked(batch):
        domain = int(batch["domain"][0])
        if not sizes[domain]:  # nothing of it can be recommended
            return None
        domains = np.full(len(batch["target"]), domain)
        likely = _log_likelihoods(scorer, batch, offsets[domain], sizes[domain])
        return domains, mixture.features(batch["items"]).numpy(), likely

    of_batches = [found for found in parallel_map(asked, validation) if found is not None]
    if not of_batches:
        return
    target_domains, features, of_targets = map(np.concatenate, zip(*of_batches, strict=True))
    sharpness = _sharpness(of_targets, target_domains, catalogue.num_domains)
    mixture.sharpness.assign(sharpness)
    found = _fit_domains(mixture, features, target_domains, catalogue)
    report(
        "Scores calibrated across domains, scale: "
        f"{listed(catalogue.domains, sharpness.tolist())}; "
        f"next domain: validation log-likelihood {found:.4f}, uniform "
        f"{-np.log(np.count_nonzero(sizes)):.4f}"
    )


def _log_likelihoods(scorer: ModelScorer, batch, offset: int, size: int) -> np.ndarray:
    """Log P(target | domain, history) with each of `SHARPNESS`; `[rows, trials]`, or 0."""
    queries, targets, excluded = scorer.queries(batch), batch["target"], batch["excluded"]
    found = np.zeros([len(targets), len(SHARPNESS)])
    for chunk in row_chunks(len(targets), size):
        scores = without(
            scorer.scores(take_rows(queries, chunk), offset, size), excluded[chunk], offset
        )
        own = tf.gather(scores, tf.maximum(targets[chunk] - offset, 0), batch_dims=1)
        for trial, a in enumerate(SHARPNESS):
            found[chunk, trial] = a * own - tf.reduce_logsumexp(a * scores, axis=1)
    return np.where(is_candidate(targets, excluded)[:, None], found, 0.0)


def _sharpness(of_targets, target_domains, num_domains: int) -> np.ndarray:
    """The likeliest a in each domain, `[domains]`."""
    logs = np.log(SHARPNESS)
    prior = PRIOR_USERS * of_targets.mean(axis=0) - logs**2 / 2  # a is 1 where nobody says it
    sums = [of_targets[target_domains == d].sum(axis=0) + prior for d in range(num_domains)]
    between = np.linspace(logs[0], logs[-1], 4001)  # 0 among them
    return np.exp(between[np.argmax(CubicSpline(logs, sums, axis=1)(between), axis=1)])


def _fit_domains(mixture: DomainMixture, features, target_domains, catalogue: Catalogue) -> float:
    """Sets what P(d | h) is made of; returns the mean log-likelihood."""
    users, num_domains, num_features = features.shape
    counts = np.bincount(catalogue.item_domains, catalogue.counts, num_domains)
    popularity = np.log(np.maximum(counts / max(counts.sum(), 1.0), 1e-9))
    of_targets = features[np.arange(users), target_domains].sum(axis=0)
    observed = np.bincount(target_domains, minlength=num_domains)

    def bias(parameters):
        return parameters[num_features] * popularity + parameters[num_features + 1 :]

    def log_domains(parameters):
        logits = features @ parameters[:num_features] + bias(parameters)
        return log_softmax(np.where(catalogue.sizes > 0, logits, -np.inf), axis=1)

    def loss(parameters):
        logs = log_domains(parameters)
        expected = np.exp(logs)
        surplus = expected.sum(axis=0) - observed
        of_features = np.einsum("ud,udf->f", expected, features) - of_targets
        gradient = np.concatenate([of_features, [surplus @ popularity], surplus])
        value = -logs[np.arange(users), target_domains].sum()
        return value + ridge @ parameters**2 / 2, gradient + ridge * parameters

    ridge = np.concatenate([np.ones(num_features + 1), np.full(num_domains, RIDGE)])
    fitted = minimize(loss, np.zeros(len(ridge)), jac=True, method="L-BFGS-B").x
    mixture.of_features.assign(fitted[:num_features])
    mixture.bias.assign(bias(fitted))
    return float(log_domains(fitted)[np.arange(users), target_domains].mean())
