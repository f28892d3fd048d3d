"""The bootstrap covers what it claims, and Holm's correction is Holm's."""

import numpy as np
import pytest
from scipy import stats

from tf_syncrec.evaluation import significance as statistics
from tf_syncrec.evaluation.significance import compare_to_reference, holm, paired_bootstrap
from tf_syncrec.metrics.gains import user_gains

SAMPLE = 400
"""Users of one simulated test set."""


def ranks_of(users, seed, better=1.0):
    """Ranks `[users]` of two related models, the first `better` times as good."""
    rng = np.random.default_rng(seed)
    shared = rng.exponential(15, users)
    first = 1 + np.floor(shared * rng.lognormal(0, 0.7, users) / better)
    return first, 1 + np.floor(shared * rng.lognormal(0, 0.7, users))


def gains_of(users, seed, better=1.0, metric="ndcg@10") -> tuple[np.ndarray, np.ndarray]:
    first, second = ranks_of(users, seed, better)
    return user_gains(first, metric), user_gains(second, metric)


def averaged(users, seeds, metric="ndcg@10", better=1.3) -> tuple[np.ndarray, np.ndarray]:
    """Two models' gains averaged over seeds: many distinct values."""
    first, second = np.mean([gains_of(users, s, better, metric) for s in seeds], axis=0)
    return first, second


@pytest.mark.parametrize("metric", ["hr@10", "ndcg@10", "mrr"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_and_p_value_are_those_of_scipy(metric, seeds):
    model, reference = averaged(1500, range(seeds), metric, better=1.05)
    ours = paired_bootstrap(model, reference, seed=1)
    theirs = stats.bootstrap(
        (model - reference,), np.mean, method="percentile", batch=500, rng=np.random.default_rng(2)
    )
    assert ours.users == 1500
    assert ours.mean == pytest.approx((model - reference).mean(), abs=1e-15)
    # Both ends vary by chance, by some 3 % of the standard error with 9,999 resamples, and HR@10
    # goes in steps of a user.
    chance = 0.1 * theirs.standard_error + 1 / 1500
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=chance)
    below = (theirs.bootstrap_distribution <= 0).mean()
    assert ours.p_value == pytest.approx(2 * min(below, 1 - below), abs=0.015)


def test_means_of_resamples_are_those_of_drawing_users():
    """Both ways of drawing, by mean, spread and the whole distribution."""
    few, many = gains_of(600, 5, metric="hr@10"), averaged(600, range(3), "mrr")
    for (model, reference), is_few in ((few, True), (many, False)):
        differences = model - reference
        differing = differences[differences != 0]
        distinct = len(np.unique(differing))
        assert (8 * distinct < len(differing)) == is_few
        ours = statistics._resampled_means(np.sort(differing), 600, 4000, seed=0)
        rng = np.random.default_rng(1)
        literal = [differences[rng.integers(0, 600, 600)].mean() for _ in range(4000)]
        assert stats.ks_2samp(ours, literal).pvalue > 0.01


def test_interval_covers_the_truth_and_p_is_uniform_without_a_difference():
    """With no true difference, 95 % of the intervals hold 0 and p-values are uniform."""
    found = [
        paired_bootstrap(*gains_of(SAMPLE, seed), resamples=499, seed=seed) for seed in range(600)
    ]
    covered = np.mean([d.low <= 0 <= d.high for d in found])
    assert covered == pytest.approx(0.95, abs=0.03)  # three standard errors
    p_values = np.array([d.p_value for d in found])
    for level in (0.05, 0.2, 0.5, 0.8):
        error = (level * (1 - level) / len(found)) ** 0.5
        assert (p_values <= level).mean() == pytest.approx(level, abs=3.5 * error)


def test_interval_covers_a_true_difference():
    truth = float(np.subtract(*(g.mean() for g in gains_of(2_000_000, 99, better=1.5))))
    assert truth > 0.02
    found = [
        paired_bootstrap(*gains_of(SAMPLE, seed, better=1.5), resamples=499, seed=seed)
        for seed in range(400)
    ]
    covered = np.mean([d.low <= truth <= d.high for d in found])
    assert covered == pytest.approx(0.95, abs=0.035)
    assert np.mean([d.p_value < 0.05 for d in found]) > 0.5


def test_p_is_small_with_a_real_difference_and_never_zero():
    found = paired_bootstrap(*gains_of(5000, 0, better=2.0), resamples=999)
    assert found.low > 0
    assert found.p_value == 2 / 1000


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_and_interval_agree(seeds):
    """The p-value is that level at which the interval begins to hold 0."""
    model, reference = averaged(3000, range(seeds))
    differences = model - reference  # moved to 1.5 standard errors, where p is neither 0 nor 1
    reference = reference + differences.mean() - 1.5 * stats.sem(differences)
    found = paired_bootstrap(model, reference)
    assert 0.01 < found.p_value < 0.9
    for factor, holds in ((0.8, True), (1.25, False)):
        level = 1 - found.p_value * factor
        interval = paired_bootstrap(model, reference, confidence=level)
        assert (interval.low <= 0 <= interval.high) == holds


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("metric", ["hr@10", "mrr"])
def test_order_of_users_does_not_matter(seeds, metric):
    model, reference = averaged(800, range(seeds), metric)
    order = np.random.default_rng(3).permutation(800)
    assert paired_bootstrap(model[order], reference[order]) == paired_bootstrap(model, reference)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("metric", ["hr@10", "mrr"])
def test_swapping_the_two_changes_signs(seeds, metric):
    model, reference = averaged(800, range(seeds), metric)
    found, swapped = paired_bootstrap(model, reference), paired_bootstrap(reference, model)
    assert found.mean != 0
    assert (swapped.mean, swapped.low, swapped.high) == (-found.mean, -found.high, -found.low)
    assert swapped.p_value == found.p_value


def test_seeds_decide():
    pair = averaged(500, range(3))
    assert paired_bootstrap(*pair, seed=4) == paired_bootstrap(*pair, seed=4)
    assert paired_bootstrap(*pair, seed=4) != paired_bootstrap(*pair, seed=5)


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_is_held_at_once_is_bounded(monkeypatch, seeds):
    """Small steps still draw every resample: the interval moves by chance alone."""
    pair = averaged(500, range(seeds), "ndcg@10" if seeds == 1 else "mrr")
    whole = paired_bootstrap(*pair)
    monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", 997)
    steps = paired_bootstrap(*pair)
    width = whole.high - whole.low
    assert (steps.low, steps.high) == pytest.approx((whole.low, whole.high), abs=0.05 * width)


def test_no_difference_is_none():
    """Seeds added in another order differ in the last digit, which must not count."""
    rng = np.random.default_rng(0)
    three = user_gains(1 + rng.integers(0, 15, (3, 300)), "ndcg@10")
    model, reference = (three[0] + three[1] + three[2]) / 3, (three[2] + three[1] + three[0]) / 3
    assert (model != reference).any()
    for pair in ((model, reference), (model, model), (model[:0], model[:0])):
        found = paired_bootstrap(*pair)
        assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
        assert found.users == len(pair[0])


@pytest.mark.parametrize(
    "pair", [(np.ones(3), np.ones(4)), (np.ones((2, 3)), np.ones((2, 3))), (1.0, 2.0)]
)
def test_other_users_raise(pair):
    with pytest.raises(ValueError, match="need values of the same users"):
        paired_bootstrap(*pair)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_raises(wrong):
    with pytest.raises(ValueError, match="values must be finite"):
        paired_bootstrap(np.array([0.1, wrong]), np.array([0.2, 0.3]))


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"confidence": 1.0}, {"confidence": 95}])
def test_wrong_settings_raise(wrong):
    with pytest.raises(ValueError, match="Received"):
        paired_bootstrap(np.zeros(3), np.ones(3), **wrong)


# Benjamini and Hochberg 1995 (https://doi.org/10.1111/j.2517-6161.1995.tb02031.x), section 4.1:
# fifteen tests of thrombolysis. Their adjusted values are those of R's p.adjust(p, "holm").
THROMBOLYSIS = {
    0.0001: 0.0015, 0.0004: 0.0056, 0.0019: 0.0247, 0.0095: 0.1140, 0.0201: 0.2211,
    0.0278: 0.2780, 0.0298: 0.2780, 0.0344: 0.2780, 0.0459: 0.3213, 0.3240: 1.0,
    0.4262: 1.0, 0.5719: 1.0, 0.6528: 1.0, 0.7590: 1.0, 1.0000: 1.0,
}  # fmt: skip


def test_holm_is_that_of_worked_examples():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    order = np.random.default_rng(0).permutation(15)
    given, expected = (np.array(list(v))[order] for v in zip(*THROMBOLYSIS.items(), strict=True))
    np.testing.assert_allclose(holm(given), expected)


def test_holm_of_no_and_of_one_test():
    assert holm([]).shape == (0,)
    assert holm([0.2]).tolist() == [0.2]


def test_models_are_compared_overall_and_by_domain():
    domains = np.random.default_rng(1).integers(0, 3, 900)
    domains[domains == 1] = 3
    reference, better = gains_of(900, 0)[1], gains_of(900, 0, better=3.0)[0]
    same_but_in_0 = np.where(domains == 0, better, reference)
    values = {"a": better, "ours": reference, "b": same_but_in_0}
    names = ["zero", "nobody", "two", "three"]
    found = compare_to_reference(values, "ours", domains, names, resamples=999, seed=7)
    assert list(found) == ["a", "b"]
    for model, rows in found.items():
        assert list(rows["domains"]) == names
        for d, name in enumerate(names):
            users = domains == d
            alone = paired_bootstrap(values[model][users], reference[users], 999, seed=7)
            row = dict(rows["domains"][name])
            row.pop("p_holm")
            assert row == vars(alone)
        whole = paired_bootstrap(values[model], reference, 999, seed=7)
        assert rows["overall"] == vars(whole)
        kept = [rows["domains"][name] for name in names if name != "nobody"]
        assert [row["p_holm"] for row in kept] == holm([row["p_value"] for row in kept]).tolist()
        assert rows["domains"]["nobody"]["p_holm"] == 1
        types = {type(v) for row in [rows["overall"], *kept] for v in row.values()}
        assert types == {int, float}
    p_holm = {name: row["p_holm"] for name, row in found["b"]["domains"].items()}
    assert p_holm == {"zero": pytest.approx(0.006), "nobody": 1, "two": 1, "three": 1}


def test_an_unknown_reference_raises():
    with pytest.raises(KeyError):
        compare_to_reference({"a": np.ones(2)}, "b", np.zeros(2), ["x"])


@pytest.mark.parametrize("users", [1, 2, 4])
def test_a_handful_of_users_is_never_significant(users):
    """All of them the same way is what a coin does, too: p is at least that of a sign test."""
    found = paired_bootstrap(np.ones(users), np.zeros(users))
    assert found.p_value == 2.0 ** (1 - users)
