"""How scores of different domains compare: the likeliest on validation."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.mixing import literal_log_domains
from tests.support.networks import small_network
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.scoring.mixture import PRIOR_USERS, RIDGE, fit_mixture

SIZES = (12, 3, 0, 20)


def fit(model, prepared):
    said: list[str] = []
    batches = evaluation_batches(prepared, "validation", 256)
    fit_mixture(model, prepared.catalogue, batches, said.append)
    return said


@pytest.fixture(scope="module")
def planted():
    """A model, targets that a known mixture drew by its scores, the mixture, and these scores.

    Scores are too sharp in domain 3 and domain 0; users return to the domains of their history,
    and domain 1 is asked for more than it was.
    """
    rng = np.random.default_rng(0)
    total, offsets = sum(SIZES), 1 + np.cumsum(SIZES) - SIZES
    domains = np.repeat(np.arange(4, dtype=np.int32), SIZES)
    ids = np.array([f"item {i}" for i in range(total)], object)
    catalogue = Catalogue(tuple("abcd"), ids, domains, np.full(total, 10))
    model = small_network(FakePrepared(catalogue, {}), SASRec)
    truth = DomainMixture(SIZES)
    truth.build()
    values = [0.3, 1.0, 1.0, 0.15], [0, 1.5, 0, 0], [0.2, 0.3, 0.8, 0.5]
    truth.set_weights([np.array(value) for value in values])

    lengths = rng.integers(1, 9, 1200)
    items = rng.integers(1, total + 1, (1200, 8)).astype(np.int32)
    items[np.arange(8) < 8 - lengths[:, None]] = 0
    queries = model.domain_queries({"items": items}).numpy()
    candidates = model.candidate_vectors(np.arange(1, total + 1)).numpy()
    scores = np.einsum("uir,ir->ui", queries[:, domains], candidates).astype(float)
    rows, of_targets = [], []
    for number, history in enumerate(row[row > 0] for row in items):
        domain = rng.choice(4, p=np.exp(literal_log_domains(truth, history)))
        own = np.where(domains == domain, truth.sharpness.numpy()[domain] * scores[number], -np.inf)
        own[history - 1] = -np.inf
        if np.isfinite(own).any():
            target = rng.choice(total, p=np.exp(own - logsumexp(own))) + 1
            rows.append(
                {"user_id": str(number).encode(), "items": history, "domain": domain}
                # Some were never trained.
                | {"target": target if number % 11 else 0, "target_item_id": b"-"}
            )
            of_targets.append(scores[number, offsets[domain] - 1 :][: SIZES[domain]])
    return model, FakePrepared(catalogue, {"validation": rows}), truth, of_targets


def test_what_was_planted_is_found(planted):
    model, prepared, truth, _ = planted
    (said,) = fit(model, prepared)
    there = np.array(SIZES) > 0
    found = model.mixture.sharpness.numpy()
    np.testing.assert_allclose(found[[0, 3]], truth.sharpness.numpy()[[0, 3]], rtol=0.35)
    for row in prepared.splits["validation"][:300]:
        history = row["items"]
        np.testing.assert_allclose(
            np.exp(literal_log_domains(model.mixture, history))[there],
            np.exp(literal_log_domains(truth, history))[there],
            atol=0.12,
        )
    assert f"a {found[0]:.3g}, b " in said and "uniform -1.0986" in said
    batches = evaluation_batches(prepared, "validation", 256)
    ranks = rank_all_domains(ModelScorer(model), batches, prepared.catalogue, model.mixture)
    fitted, raw = (ranks.metrics(prepared.catalogue.domains)["overall"] for ranks in ranks)
    assert fitted["ndcg@10"] > raw["ndcg@10"] + 0.02


def test_sharpness_is_the_likeliest_of_all_and_not_of_a_grid(planted):
    """Everybody counts as `PRIOR_USERS` more in each domain; a target never seen says nothing."""
    model, prepared, _, of_targets = planted
    fit(model, prepared)
    parts = []
    for row, scores in zip(prepared.splits["validation"], of_targets, strict=True):
        ids = np.arange(SIZES[row["domain"]]) + prepared.catalogue.offsets[row["domain"]]
        left = ~np.isin(ids, row["items"]) | (ids == row["target"])
        target = scores[ids == row["target"]]
        parts.append((row["domain"], target, scores[left]))

    def likelihoods(a):
        return np.array([a * t[0] - logsumexp(a * own) if len(t) else 0.0 for _, t, own in parts])

    domains = np.array([domain for domain, _, _ in parts])
    for d in range(4):

        def cost(log_a, d=d):
            each = likelihoods(np.exp(log_a))
            return log_a**2 / 2 - each[domains == d].sum() - PRIOR_USERS * each.mean()

        best = np.exp(minimize_scalar(cost, bounds=(-3.4, 3.4), method="bounded").x)
        assert model.mixture.sharpness.numpy()[d] == pytest.approx(best, rel=0.02)


def test_no_other_weights_of_the_domains_are_likelier(planted):
    """The penalised likelihood, in loops, falls whichever way one goes."""
    model, prepared, _, _ = planted
    rows, mixture = prepared.splits["validation"][::3], model.mixture
    some = FakePrepared(prepared.catalogue, {"validation": rows})
    fit(model, some)
    weights, bias = mixture.of_features.numpy(), mixture.bias.numpy()
    popularity = np.log(np.maximum(np.array(SIZES) / sum(SIZES), 1e-9))

    def cost(weights, of_popularity, own):
        mixture.of_features.assign(weights)
        mixture.bias.assign(of_popularity * popularity + own)
        likelihood = sum(literal_log_domains(mixture, row["items"])[row["domain"]] for row in rows)
        ridge = np.sum(np.square(weights)) + of_popularity**2 + RIDGE * np.sum(np.square(own))
        return ridge / 2 - likelihood

    # Of all ways to write the bias, the cheapest: its part of popularity is ridge regression.
    of_popularity = RIDGE * popularity @ bias / (1 + RIDGE * popularity @ popularity)
    own = bias - of_popularity * popularity
    least = cost(weights, of_popularity, own)
    for step in (0.05, -0.05):
        for moved in np.eye(len(weights)) * step:
            assert cost(weights + moved, of_popularity, own) > least
        for moved in np.eye(4)[[0, 1, 3]] * step:
            assert cost(weights, of_popularity, own + moved) > least


def test_a_domain_of_few_users_does_as_all_do(planted):
    _, prepared, _, _ = planted
    rows = prepared.splits["validation"]
    of_0, of_3 = ([row for row in rows if row["domain"] == d] for d in (0, 3))
    few = [*of_0, of_3[0]]
    model = small_network(prepared, SASRec)
    fit(model, FakePrepared(prepared.catalogue, {"validation": few}))
    found = model.mixture.sharpness.numpy()
    assert found[3] == pytest.approx(found[0], rel=0.1)
    assert found[1] == pytest.approx(found[0], rel=0.1)  # of no user at all
    assert np.isfinite(model.mixture.log_domains([[1]])).all()


def test_nothing_to_fit_with_or_between_changes_nothing(make_prepared):
    prepared = make_prepared()
    one = make_prepared(sizes=(0, 9))
    for some in (FakePrepared(prepared.catalogue, prepared.splits | {"validation": []}), one):
        model = small_network(some, SASRec)
        before = [weight.numpy() for weight in model.weights]
        assert fit(model, some) == []
        for old, new in zip(before, model.weights, strict=True):
            np.testing.assert_array_equal(old, new)


def test_thirty_domains_and_targets_that_nobody_trained(make_prepared):
    prepared = make_prepared(sizes=(0, *[3, 1] * 14, 2), users=60)
    rows = [row | {"target": 0} for row in prepared.splits["validation"]]
    model = small_network(prepared, SASRec)
    (said,) = fit(model, FakePrepared(prepared.catalogue, {"validation": rows}))
    np.testing.assert_allclose(model.mixture.sharpness, 1.0, rtol=1e-6)
    assert "Scores calibrated across domains, scale: 1 to 1, by domain" in said
    assert np.isfinite(model.mixture.log_domains([[1, 2], [0, 0]])).all()
