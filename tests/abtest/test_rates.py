"""Rates of users: against other libraries, literal sums, and what they promise of many samples."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from tf_syncrec.abtest.rates import Rate, compare, rate, sample_ratio


def draw(rng, users, base, spread=6.0, mean=8.0):
    """Users who differ in how often they click, and the more see the more: one like the last."""
    taste = rng.beta(base * spread, (1 - base) * spread, users)
    shown = 1 + rng.poisson(rng.exponential(mean * (0.5 + taste / base / 2)))
    return shown.astype(float), rng.binomial(shown, taste).astype(float)


def test_with_one_impression_a_user_it_is_welchs_test():
    rng = np.random.default_rng(0)
    one, two = (rng.binomial(1, p, n).astype(float) for p, n in ((0.1, 900), (0.13, 700)))
    treated, control = (rate(np.ones_like(some), some) for some in (two, one))
    found = compare(treated, control)
    welch = stats.ttest_ind(two, one, equal_var=False)
    difference = found["difference"][0]
    assert difference == pytest.approx(two.mean() - one.mean())
    z = difference / math.sqrt(treated.variance + control.variance)
    assert z == pytest.approx(welch.statistic)
    assert found["p_value"] == pytest.approx(2 * stats.norm.sf(abs(welch.statistic)))
    # Impressions are then independent, so that the interval is Wilson's of them.
    wilson = stats.binomtest(int(one.sum()), len(one)).proportion_ci(method="wilson")
    assert (control.low, control.high) == pytest.approx((wilson.low, wilson.high), rel=2e-3)


def test_the_variance_is_that_of_drawing_users_again():
    rng = np.random.default_rng(1)
    shown, clicked = draw(rng, 2_000, 0.1)
    found = rate(shown, clicked)
    drawn = rng.integers(0, len(shown), (2_000, len(shown)))
    again = clicked[drawn].sum(axis=1) / shown[drawn].sum(axis=1)
    assert math.sqrt(found.variance) == pytest.approx(again.std(), rel=0.05)
    assert found.value == pytest.approx(clicked.sum() / shown.sum())


def coverage(of_impressions=False, simulations=300):
    """How many 95 % intervals hold the truth: CTR, difference, lift; two variants that differ."""
    rng = np.random.default_rng(2)
    truth = []
    for base in (0.10, 0.12):
        shown, clicked = draw(np.random.default_rng(3), 1_000_000, base)
        truth.append(clicked.sum() / shown.sum())
    held = np.zeros(3)
    for _ in range(simulations):
        rates = []
        for base, users in ((0.10, 1_500), (0.12, 500)):
            shown, clicked = draw(rng, users, base)
            if of_impressions:  # a user for each impression
                ones = np.zeros(int(shown.sum()))
                ones[: int(clicked.sum())] = 1.0
                shown, clicked = np.ones_like(ones), ones
            rates.append(rate(shown, clicked))
        found = compare(rates[1], rates[0])
        (_, *difference), (_, *lift) = found["difference"], found["lift"]
        held += [
            rates[0].low <= truth[0] <= rates[0].high,
            difference[0] <= truth[1] - truth[0] <= difference[1],
            lift[0] <= truth[1] / truth[0] - 1 <= lift[1],
        ]
    return held / simulations


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Users are unlike one another, and see the more the more they click."""
    low, high = stats.binom.ppf([0.001, 0.999], 300, 0.95) / 300
    assert ((low <= coverage()) & (coverage() <= high)).all()
    # The test can fail: as if impressions were independent, they do not.
    assert (coverage(of_impressions=True) < low).all()


def test_lift_and_difference_never_disagree():
    rng = np.random.default_rng(4)
    outside = 0
    for _ in range(300):
        one, two = (rate(*draw(rng, 40, base)) for base in rng.uniform(0.03, 0.5, 2))
        found = compare(two, one)
        if found["lift"] is None:
            assert one.value <= 1.96 * math.sqrt(one.variance)
            continue
        (_, low, high), (_, least, most) = found["difference"], found["lift"]
        excludes = not low <= 0 <= high
        assert excludes == (not least <= 0 <= most) == (found["p_value"] < 0.05)
        assert -1 <= least <= found["lift"][0] <= most
        outside += excludes
    assert 0 < outside < 300


def test_fiellers_ends_are_where_the_test_turns():
    rng = np.random.default_rng(5)
    one, two = (rate(*draw(rng, 300, base)) for base in (0.1, 0.14))
    _, low, high = compare(two, one)["lift"]

    def beyond(ratio):
        deviation = math.sqrt(two.variance + ratio**2 * one.variance)
        return abs(two.value - ratio * one.value) - stats.norm.ppf(0.975) * deviation

    middle = two.value / one.value
    for end, place in ((low, middle / 10), (high, middle * 10)):
        assert optimize.brentq(beyond, *sorted((middle, place))) - 1 == pytest.approx(end, rel=1e-6)


def test_the_same_users_gain_exactly_nothing():
    found = rate(*draw(np.random.default_rng(6), 100, 0.1))
    same = compare(found, found)
    assert same["difference"][0] == 0.0 == same["lift"][0] and same["p_value"] == 1.0


@pytest.mark.parametrize("clicks", [0.0, 5.0])
def test_where_all_users_are_alike_an_interval_has_a_width(clicks):
    found = rate(np.full(50, 10.0), np.full(50, clicks))
    assert found.variance == 0 and found.low <= clicks / 10 <= found.high
    assert 0 < found.high - found.low < 0.1
    assert compare(found, found)["p_value"] == 1.0


def test_of_nobody_nothing_is_known():
    assert rate(np.zeros(0), np.zeros(0)) == Rate(0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_sample_ratio_is_scipys():
    users, weights = np.array([900, 100, 55]), np.array([0.85, 0.1, 0.05])
    expected = weights * users.sum()
    assert sample_ratio(users, 7 * weights) == stats.chisquare(users, expected).pvalue


@pytest.mark.parametrize(
    ("shown", "clicked"),
    [([4.0] * 5, [0.0] * 5), ([3.0], [1.0]), ([1.0], [1.0]), ([2.0] * 8, [1.0] * 8)],
)
def test_a_variance_of_nothing_is_no_knowledge(shown, clicked):
    """A control of few users who are all alike says next to nothing, as its interval does."""
    treated = rate(*draw(np.random.default_rng(7), 1_000, 0.05))
    control = rate(np.array(shown), np.array(clicked))
    assert control.variance == 0 and control.high - control.low > 0.15
    for found in (compare(treated, control), compare(control, treated)):
        _, low, high = found["difference"]
        wide = control.high - control.low
        assert not found["enough"] and high - low > 0.5 * wide and found["p_value"] > 1e-4


def test_many_users_without_a_click_are_knowledge():
    control = rate(np.full(5_000, 4.0), np.zeros(5_000))
    found = compare(rate(*draw(np.random.default_rng(8), 5_000, 0.05)), control)
    assert found["enough"] and found["p_value"] < 1e-10 and found["lift"] is None


@pytest.mark.parametrize(
    ("users", "each", "enough"),
    [(99, 100, False), (100, 100, True), (199, 1, False), (201, 1, True)],
)
def test_how_many_are_enough(users, each, enough):
    """Of users, and of clicks that they would have if they clicked as all others."""
    many = rate(np.full(1_000_000, 10.0), np.tile([0.0, 1.0], 500_000))  # 5 %
    few = rate(np.full(users, float(each)), np.zeros(users))
    assert compare(few, many)["enough"] == compare(many, few)["enough"] == enough


def test_equal_rates_seldom_differ_where_there_are_just_enough():
    rng = np.random.default_rng(9)
    wrong = tests = 0
    for _ in range(400):
        found = compare(*(rate(*draw(rng, users, 0.05, 30.0)) for users in (100, 1_000)))
        tests += found["enough"]
        wrong += found["p_value"] < 0.05 and found["enough"]
    assert tests > 30 and wrong / tests <= 0.1
