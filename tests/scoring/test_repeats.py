"""What coming back is worth: the likeliest weights, and of these what validation prefers."""

import dataclasses

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.conftest import FakePrepared
from tests.support.networks import small_network
from tests.support.prepared import batches_of, coming_back
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split, times_of
from tf_syncrec.layers.score_terms.repeat_consumption import NUMBERS
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring import choices
from tf_syncrec.scoring import repeats as fitting
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.repeats import SHARPNESS, count_returns, fit_repeats, log_returns


def model_for(prepared, kind=SASRec, **settings):
    return small_network(prepared, kind, repeat_consumption=True, **settings)


def test_returns_are_counted_over_the_users_of_an_item(make_prepared):
    prepared = make_prepared(users=40)
    catalogue = prepared.catalogue
    users, returns = np.zeros(catalogue.num_items), np.zeros(catalogue.num_items)
    for row in prepared.splits["train"]:
        for item in set(row["items"].tolist()):
            users[item - 1] += 1
            returns[item - 1] += (row["items"] == item).sum() - 1
    expected = [0.0]
    for i, domain in enumerate(catalogue.item_domains):
        of_domain = catalogue.item_domains == domain
        usual = (returns[of_domain].sum() + 1) / (users[of_domain].sum() + 1)
        expected.append(np.log((returns[i] + 5 * usual) / (users[i] + 5)))
    np.testing.assert_allclose(log_returns(prepared), expected, rtol=1e-5, atol=1e-6)
    assert returns.max() > 3


def test_what_people_come_back_to_is_found(make_prepared):
    """The network is random. What is random too, the other domains, stays as it is."""
    prepared = coming_back(make_prepared)
    repeats = prepared.catalogue.repeats
    model = model_for(prepared)
    said: list[str] = []
    count_returns(model, prepared)
    before = rank_split(ModelScorer(model), batches_of(prepared, "test"), prepared.catalogue)
    fit_repeats(model, prepared.catalogue, batches_of(prepared), said.append)
    after = rank_split(ModelScorer(model), batches_of(prepared, "test"), prepared.catalogue)
    of_repeats = repeats[before.domains]
    first = [(ranks.ranks[of_repeats] == 1).mean() for ranks in (before, after)]
    assert first[1] > 0.5 > 0.3 > first[0]
    np.testing.assert_array_equal(before.ranks[~of_repeats], after.ranks[~of_repeats])
    weight = model.repeats.weight.numpy()
    assert not weight[:, ~repeats].any()
    # The latest, and not one of before.
    assert (weight[0, repeats, NUMBERS] > weight[0, repeats, NUMBERS + 2]).all()
    assert len(said) == 1 and "Repeat consumption" in said[0]


@pytest.mark.slow
def test_validation_chooses_in_each_domain(make_prepared, monkeypatch):
    """Of the weights that are the likeliest for each sharpness, or none, ranked one by one."""
    monkeypatch.setattr(choices, "PRIOR_USERS", 0)
    # Nobody comes back in one of the domains that are said to repeat.
    prepared = coming_back(make_prepared, latest=0.5, sizes=(12, 9, 0, 20, 6, 15))
    catalogue, batches = prepared.catalogue, batches_of(prepared)
    for row in prepared.splits["validation"]:
        if row["domain"] == 3:
            had = set(row["items"].tolist())
            row["target"] = next(i for i in range(22, 42) if i not in had)
    model = model_for(prepared)
    count_returns(model, prepared)
    scorer = ModelScorer(model)
    scorer.refresh()
    expected = np.zeros(model.repeats.weight.shape)
    observed = fitting._observe(model.repeats, [scorer], catalogue, batches)
    for told, name in enumerate((None, *TIMED)):
        fitted = observed[told].fit(catalogue.num_domains)
        tried = np.zeros([1 + len(SHARPNESS), *expected.shape])
        for trial, (sharpness, weight) in enumerate(zip(SHARPNESS, fitted, strict=True), start=1):
            tried[trial, told] = weight / sharpness * catalogue.repeats[:, None]
        gains = []
        for weight in tried:
            model.repeats.weight.assign(weight)
            ranks = rank_split(ModelScorer(model, told=name), batches, catalogue)
            gains.append(user_gains(ranks.ranks, "ndcg@10"))
        of_users, domains = np.array(gains), range(catalogue.num_domains)
        best = [np.argmax(of_users[:, ranks.domains == d].sum(axis=1)) for d in domains]
        expected[told] = tried[best, told, domains]
        assert len({best[d] for d in np.flatnonzero(catalogue.repeats)}) > 1
    for _ in range(2):  # what was fitted before has no say
        fit_repeats(model, catalogue, batches, lambda line: None)
        np.testing.assert_allclose(model.repeats.weight, expected, rtol=1e-5, atol=1e-5)


def negative_log_likelihood(model, prepared, sharpness, told, weight):
    """By a loop over users and all items of a domain; the weights are `[domains, features]`."""
    of_told = np.zeros(model.repeats.weight.shape, np.float32)
    of_told[told] = weight
    scorer, total = ModelScorer(model), 0.0
    scorer.refresh()
    catalogue, layer = prepared.catalogue, model.repeats
    for batch in batches_of(prepared):
        domain = int(batch["domain"][0])
        offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        if not size or not catalogue.repeats[domain]:
            continue
        scores = sharpness * np.array(scorer.scores(scorer.queries(batch), offset, size), float)
        times = times_of(batch, (None, *TIMED)[told])
        counted = layer.features(batch["items"], *times)
        ids, gains = counted.ids, layer.gains(counted, of_told)
        for row, target in enumerate(batch["target"].numpy()):
            own = [i for i in ids[row].numpy() if offset <= i < offset + size]
            if target and own:
                for i, gain in zip(ids[row].numpy(), gains[row].numpy(), strict=True):
                    if offset <= i < offset + size:
                        scores[row, i - offset] += gain
                total += logsumexp(scores[row]) - scores[row, target - offset]
    return total


@pytest.mark.parametrize(
    ("sharpness", "told"),
    [
        pytest.param(2, 1, marks=pytest.mark.slow),
        *(pytest.param(*each, marks=pytest.mark.long) for each in ((0, 0), (1, 2))),
    ],
)
def test_the_weights_are_the_likeliest(sharpness, told, make_prepared, monkeypatch):
    """Of a slow literal likelihood with the same ridge, no step in any direction is better."""
    monkeypatch.setattr(fitting, "RIDGE", 3.0)
    prepared = coming_back(make_prepared, latest=0.5)
    model = model_for(prepared)
    count_returns(model, prepared)
    num_domains = prepared.catalogue.num_domains
    scorer = ModelScorer(model)
    scorer.refresh()
    choices = fitting._observe(model.repeats, [scorer], prepared.catalogue, batches_of(prepared))
    weight = list(choices[told].fit(num_domains))[sharpness]

    def objective(weight):
        # The best common part of given sums: it costs 1, each departure from it RIDGE.
        common = 3.0 * weight.sum(axis=0) / (1.0 + 3.0 * num_domains)
        ridge = (common**2).sum() / 2 + 3.0 * ((weight - common) ** 2).sum() / 2
        likelihood = negative_log_likelihood(model, prepared, SHARPNESS[sharpness], told, weight)
        return likelihood + ridge

    best, rng = objective(weight), np.random.default_rng(0)
    assert best < objective(np.zeros_like(weight)) - 5
    for _ in range(12):
        step = rng.normal(0, 0.02, weight.shape)
        assert objective(weight + step) > best - 1e-4


@pytest.mark.parametrize("kind", [SASRec, pytest.param(SyNCRec, marks=pytest.mark.slow)])
def test_keras_ranks_as_we_do(kind, make_prepared):
    prepared = coming_back(make_prepared)
    model = model_for(prepared, kind, neighbours=4)
    fit_score(model, prepared, batches_of(prepared), lambda line: None)
    assert bool(model.repeats.voting())
    batches = batches_of(prepared, "test")
    expected = rank_split(ModelScorer(model), batches, prepared.catalogue).ranks
    received = np.concatenate([model.target_ranks(batch) for batch in batches])
    np.testing.assert_array_equal(received, expected)


def test_without_domains_that_repeat_nothing_is_fitted(make_prepared):
    prepared = coming_back(make_prepared)
    never = dataclasses.replace(prepared.catalogue, repeats=np.zeros(4, bool))
    nowhere = FakePrepared(never, prepared.splits)
    said: list[str] = []
    model = model_for(nowhere)
    count_returns(model, nowhere)
    fit_repeats(model, never, batches_of(nowhere), said.append)
    assert not said and not any(weight.numpy().any() for weight in model.repeats.weights)


def test_it_is_saved_with_the_weights(make_prepared, tmp_path):
    prepared = coming_back(make_prepared)
    model, twin = model_for(prepared), model_for(prepared, seed=1)
    fit_score(model, prepared, batches_of(prepared), lambda line: None)
    model.save_weights(tmp_path / "one.weights.h5")
    twin.load_weights(tmp_path / "one.weights.h5")
    for one, other in zip(model.repeats.weights, twin.repeats.weights, strict=True):
        np.testing.assert_array_equal(one, other)
