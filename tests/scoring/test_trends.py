"""What being popular lately is worth: of every half-life and weight what validation prefers."""

import itertools

import numpy as np
import pytest

from tests.support.networks import small_network
from tests.support.prepared import batches_of, with_times
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring import choices
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.recent_popularity import HALF_LIVES, decayed_counts
from tf_syncrec.scoring.trends import SMOOTHING, WEIGHTS, fit_trend


def literal_gains(prepared):
    """By trial and item, without padding; by loops."""
    catalogue, counts = prepared.catalogue, decayed_counts(prepared)
    found = [[0.0] * catalogue.num_items]
    for row, weight in itertools.product(range(len(HALF_LIVES)), WEIGHTS):
        gains = []
        for item in range(catalogue.num_items):
            own = counts[row][catalogue.item_domains == catalogue.item_domains[item]]
            gains.append(weight * np.log(counts[row][item] / own.mean() + SMOOTHING))
        found.append(gains)
    return np.array(found, np.float32)


@pytest.mark.parametrize("kind", [SASRec, pytest.param(SyNCRec, marks=pytest.mark.long)])
def test_validation_chooses_in_each_domain(kind, make_prepared, monkeypatch):
    """The literal trials, ranked one by one; what is chosen is what Keras and we rank by."""
    monkeypatch.setattr(choices, "PRIOR_USERS", 5)
    prepared = with_times(make_prepared(users=200))
    catalogue = prepared.catalogue
    model = small_network(prepared, kind, trend=True)
    tried, found = literal_gains(prepared), []
    for gains in tried:
        model.trend.gain.assign(np.append(0, gains))
        ranks = rank_split(ModelScorer(model), batches_of(prepared), catalogue)
        found.append(user_gains(ranks.ranks, "ndcg@10"))
    of_users = np.array(found).T
    chosen = choices.best_of_domains(of_users, ranks.domains, catalogue.num_domains)
    model.trend.gain.assign(np.zeros(catalogue.num_items + 1))
    fit_trend(model, catalogue, decayed_counts(prepared), batches_of(prepared), lambda line: None)
    expected = tried[chosen[catalogue.item_domains], np.arange(catalogue.num_items)]
    np.testing.assert_allclose(model.trend.gain, np.append(0, expected), rtol=1e-5, atol=1e-6)
    assert expected.any() and len(set(chosen)) > 1
    after = rank_split(ModelScorer(model), batches_of(prepared), catalogue).ranks
    assert user_gains(after, "ndcg@10").mean() > of_users[:, 0].mean()
    by_keras = np.concatenate([model.target_ranks(batch) for batch in batches_of(prepared)])
    np.testing.assert_array_equal(by_keras, after)
    alone = rank_split(ModelScorer(model, votes=False), batches_of(prepared), catalogue).ranks
    np.testing.assert_array_equal(user_gains(alone, "ndcg@10"), of_users[:, 0])


def test_a_whole_score_has_it(make_prepared):
    prepared = with_times(make_prepared(users=200))
    model, said = small_network(prepared, SASRec, trend=True), list[str]()
    judged = fit_score(model, prepared, batches_of(prepared), said.append)
    assert judged is not None and any("Recent popularity" in line for line in said)
    assert np.any(model.trend.gain) and not model.trend.trainable_weights
