"""The choice between trials, in each domain."""

from collections.abc import Sequence

import numpy as np

PRIOR_USERS = 1000
"""In each domain, everybody counts as so many users of the domain's own."""

LISTED = 8
"""Domains that are named where it says what was chosen; of more, the range."""


def best_of_domains(gains: np.ndarray, domains: np.ndarray, num_domains: int) -> np.ndarray:
    """Which trial is best in each domain, `[num_domains]`; of equals, and of none, the first.

    It is the best over the users of the domain and `PRIOR_USERS` more who are like everybody: a
    domain of few users has what is best for all.

    Args:
        gains: the selection metric in each trial, `[users, trials]`.
        domains: domain of each user's target, `[users]`.
        num_domains: |D|.
    """
    prior = PRIOR_USERS * gains.mean(axis=0) if len(gains) else 0.0
    return np.array(
        [np.argmax(gains[domains == d].sum(axis=0) + prior) for d in range(num_domains)]
    )


def mean_gain(gains: np.ndarray, domains: np.ndarray, chosen: np.ndarray) -> float:
    """The selection metric over all users, each in the trial that was chosen for the domain.

    Args:
        gains: as in `best_of_domains`, of one user or more.
        domains: likewise.
        chosen: of `best_of_domains`.
    """
    return float(np.take_along_axis(gains, chosen[domains][:, None], axis=1).mean())


def listed(names: Sequence[str], values: Sequence[float], unit: str = "") -> str:
    """What was chosen in each domain, for a line of the terminal."""
    if len(values) > LISTED:
        return f"{min(values):.3g}{unit} to {max(values):.3g}{unit}, by domain"
    found = zip(names, values, strict=True)
    return ", ".join(f"{name} {value:.3g}{unit}" for name, value in found)
