"""Click-through rates of users who were drawn, and what one variant gains over another.

A rate is clicks by impressions, of all users together: a ratio of two sums over users. Users were
given to the variants, not impressions, and one user's impressions are alike; so the user is the
unit of chance. The delta method has the variance of such a ratio from one residual a user, however
alike the user's impressions are. Taking impressions for independent makes intervals too narrow.

References:
- Deng, Knoblich and Lu, Applying the Delta Method in Metric Analytics, KDD 2018
  (https://doi.org/10.1145/3219819.3219919)
- Fieller, Some Problems in Interval Estimation, 1954 (https://www.jstor.org/stable/2984043)
"""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
_Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))

LEAST_USERS = 100
"""Users of each variant, below which nothing is said of it: a variance of few users is a guess, and
mostly too low, as those who click much are rare."""

LEAST_CLICKS = 10
"""Clicks, and impressions without one, that each variant would have if all were clicked alike;
with fewer a rate is not near to normal."""


@dataclasses.dataclass(frozen=True)
class Rate:
    """The rate of a variant.

    Attributes:
        users: who saw something.
        impressions: how often.
        clicks: how often that was clicked.
        value: clicks by impressions; 0 without impressions.
        variance: of the value, between samples of users; 0 where all users are alike.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    users: int
    impressions: float
    clicks: float
    value: float
    variance: float
    low: float
    high: float


def rate(impressions: np.ndarray, clicks: np.ndarray) -> Rate:
    """The rate of some users, with the variance that other users would give it.

    Args:
        impressions: `[users]`, above 0.
        clicks: `[users]`, from 0.

    Returns:
        The rate. Its interval is Wilson's, of as many independent impressions as would have that
        variance, so that it stays between 0 and 1 and has a width where there are no clicks.
    """
    users, shown, clicked = len(impressions), float(impressions.sum()), float(clicks.sum())
    if not users:
        return Rate(0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    value = clicked / shown
    residuals = clicks - value * impressions
    variance = float(residuals @ residuals) * users / max(users - 1, 1) / shown**2
    alone = value * (1 - value) / shown  # as if impressions were independent
    size = shown * (alone / variance if variance else 1.0)
    size = min(size, shown)
    middle = (value + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    width = _Z * math.sqrt(value * (1 - value) / size + _Z**2 / (4 * size**2)) / (1 + _Z**2 / size)
    low, high = min(max(middle - width, 0.0), value), max(min(middle + width, 1.0), value)
    return Rate(users, shown, clicked, value, variance, low, high)


def compare(treated: Rate, control: Rate) -> dict[str, Any]:
    """What a variant gains over the control.

    Args:
        treated: its rate.
        control: that of the control, of other users.

    Returns:
        `{"difference": [value, low, high], "lift": [value, low, high] or None, "p_value",
        "enough"}`: the difference of the rates, the same as a part of the control's, the two-sided
        p-value of "they are equal" (z-test), and whether there are enough users and clicks to go by
        it (`LEAST_USERS`, `LEAST_CLICKS`). `lift` has Fieller's interval, which excludes 0 where
        that of the difference does; None where nobody knows whether the control is clicked at all.
    """
    enough = _enough(treated, control)
    treated, control = _with_least_variance(treated), _with_least_variance(control)
    difference = treated.value - control.value
    deviation = math.sqrt(treated.variance + control.variance)
    ends = [difference - _Z * deviation, difference + _Z * deviation]
    z = abs(difference) / deviation if deviation else 0.0  # nobody has seen anything
    return {
        "difference": [difference, *ends],
        "lift": _lift(treated, control),
        "p_value": float(2 * stats.norm.sf(z)),
        "enough": enough,
    }


def _enough(*rates: Rate) -> bool:
    """Whether all have the users, and at one rate would have the clicks."""
    shown = sum(each.impressions for each in rates)
    together = sum(each.clicks for each in rates) / shown if shown else 0.0
    rarer = min(together, 1 - together)
    return all(
        each.users >= LEAST_USERS and rarer * each.impressions >= LEAST_CLICKS for each in rates
    )


def _with_least_variance(found: Rate) -> Rate:
    """With the variance of independent impressions, where users are more alike than by chance.

    A user, or five of no clicks, are all alike: their variance of 0 is no knowledge. Without any
    click, or with nothing else, the variance is that of a normal interval as wide as Wilson's.
    """
    if not found.users:
        return found
    least = found.value * (1 - found.value) / found.impressions
    least = least or ((found.high - found.low) / _Z) ** 2
    return dataclasses.replace(found, variance=max(found.variance, least))


def _lift(treated: Rate, control: Rate) -> list[float] | None:
    """Fieller: the ratios θ for which treated - θ control is not certain to be other than 0."""
    t, c = treated.value, control.value
    a, b = c**2 - _Z**2 * control.variance, t**2 - _Z**2 * treated.variance
    if a <= 0:
        return None
    root = math.sqrt(max((t * c) ** 2 - a * b, 0.0))
    return [t / c - 1, max((t * c - root) / a, 0.0) - 1, (t * c + root) / a - 1]


def sample_ratio(users: np.ndarray, weights: np.ndarray) -> float:
    """p-value of "users came to the variants by these weights" (χ²).

    Args:
        users: `[labels]` how many.
        weights: `[labels]`, above 0, of any sum.
    """
    expected = weights / weights.sum() * users.sum()
    return float(stats.chisquare(users, expected).pvalue)
