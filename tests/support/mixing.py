"""The mixture of the domains' softmaxes straight from its definition, in loops of numpy."""

import numpy as np


def literal_log_domains(mixture, history):
    """Log P(d | h) of one history, item ids oldest first without padding; -inf of no items."""
    bounds = np.cumsum([1, *mixture.domain_sizes])
    bias, weights = mixture.bias.numpy(), mixture.of_features.numpy()
    logits = []
    for d, size in enumerate(mixture.domain_sizes):
        counts = np.zeros(3)  # the last interaction, the latest ones, all
        for age, item in enumerate(reversed(history)):
            if bounds[d] <= item < bounds[d + 1]:
                counts += [age == 0, 0.8**age, 1]
        features = [*np.log(1 + counts), float(counts[2] > 0)]
        logits.append(bias[d] + np.dot(weights, features) if size else -np.inf)
    return np.array(logits) - np.log(np.sum(np.exp(logits)))


def literal_log_probabilities(mixture, scores, history, excluded):
    """Log P(i | h) of all items, `[items]`; -inf of those that are excluded.

    Args:
        mixture: of a model.
        scores: `[items]`, each within its domain.
        history: item ids, oldest first.
        excluded: item ids that cannot be recommended.
    """
    allowed = ~np.isin(np.arange(1, len(scores) + 1), list(excluded))
    sharpness, log_domains = mixture.sharpness.numpy(), literal_log_domains(mixture, history)
    found, end = [], 0
    for d, size in enumerate(mixture.domain_sizes):
        own = slice(end, end := end + size)
        of_domain = np.where(allowed[own], np.exp(sharpness[d] * scores[own].astype(float)), 0.0)
        with np.errstate(divide="ignore"):
            found.append(np.log(of_domain) - np.log(max(of_domain.sum(), 1e-300)) + log_domains[d])
    return np.concatenate(found)
