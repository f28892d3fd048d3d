"""The whole score: what is fitted on some users is judged on others, and changes nothing."""

import zlib

import numpy as np
import pytest

from tests.conftest import FakePrepared
from tests.support.networks import fit_neighbours, small_network
from tests.support.prepared import batches_of, with_times
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.trials import Folds
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring import choices
from tf_syncrec.scoring.fit_score import FOLDS, fit_score
from tf_syncrec.scoring.recent_popularity import decayed_counts
from tf_syncrec.scoring.repeats import count_returns, fit_repeats
from tf_syncrec.scoring.trends import fit_trend
from tf_syncrec.scoring.view_weights import fit_view_weights


def nothing(line):
    pass


def folds_of(prepared):
    """The fold of each user of validation, by id."""
    users = [row["user_id"] for row in prepared.splits["validation"]]
    return {user: zlib.crc32(user) % FOLDS for user in users}


def only(prepared, fold, folds):
    """The dataset with the validation users of one fold."""
    rows = [row for row in prepared.splits["validation"] if folds[row["user_id"]] == fold]
    return FakePrepared(prepared.catalogue, prepared.splits | {"validation": rows})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        pytest.param(SyNCRec, {"neighbours": 6}, marks=pytest.mark.long),
        pytest.param(SyNCRec, {}, marks=pytest.mark.long),
        pytest.param(SASRec, {"neighbours": 6, "user_neighbours": 9}, marks=pytest.mark.slow),
        pytest.param(
            SyNCRec,
            {"neighbours": 6, "repeat_consumption": True, "trend": True},
            marks=pytest.mark.long,
        ),
        pytest.param(SyNCRec, {"neighbours": 6, "score": "cross"}, marks=pytest.mark.long),
    ],
)
def test_each_half_is_judged_by_what_the_other_half_chose(
    kind, settings, make_prepared, monkeypatch
):
    monkeypatch.setattr(choices, "PRIOR_USERS", 20)  # so that halves choose differently
    prepared = with_times(make_prepared(users=120))
    folds = folds_of(prepared)
    assert 0.3 < np.mean([fold == 0 for fold in folds.values()]) < 0.7
    gains = []
    for fold in range(FOLDS):
        model, judged = small_network(prepared, kind, **settings), only(prepared, fold, folds)
        fit_score(model, only(prepared, 1 - fold, folds), _validation(prepared, 1 - fold), nothing)
        ranks = rank_split(
            ModelScorer(model), batches_of(judged), prepared.catalogue, with_rows=False
        )
        gains.append(user_gains(ranks.ranks, "ndcg@10"))
    received = fit_score(
        small_network(prepared, kind, **settings), prepared, batches_of(prepared), nothing
    )
    assert received == pytest.approx(np.concatenate(gains).mean(), rel=1e-12)


def _validation(prepared, fold):
    return batches_of(only(prepared, fold, folds_of(prepared)))


@pytest.mark.slow
def test_what_is_shipped_is_fitted_on_everybody(make_prepared):
    """Part by part, in this order; what the halves had chosen before is gone."""
    prepared = with_times(make_prepared(users=120))
    terms = {"neighbours": 6, "user_neighbours": 9, "repeat_consumption": True, "trend": True}
    model, step_by_step, unjudged = (small_network(prepared, **terms) for _ in range(3))
    fit_score(model, prepared, batches_of(prepared), nothing)
    assert fit_score(unjudged, prepared, batches_of(prepared), nothing, judge=False) is None
    count_returns(step_by_step, prepared)
    rest = (prepared.catalogue, batches_of(prepared), nothing)
    fit_repeats(step_by_step, *rest)
    in_one_part = step_by_step.repeats.weight.numpy().copy()
    # Users are added up in the order of the parts that they fall into.
    fit_repeats(step_by_step, prepared.catalogue, Folds(batches_of(prepared)).only(), nothing)
    np.testing.assert_allclose(in_one_part, step_by_step.repeats.weight, 1e-5, 1e-6)
    fit_neighbours(step_by_step, prepared, *rest[1:])
    fit_trend(step_by_step, prepared.catalogue, decayed_counts(prepared), *rest[1:])
    fit_view_weights(step_by_step, *rest)
    for part in (model.neighbours.weight, model.repeats.weight, model.trend.gain):
        assert np.any(part)
    for network in (step_by_step, unjudged):
        for one, other in zip(model.weights, network.weights, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=one.path)


@pytest.mark.slow
def test_noise_is_fitted_and_does_not_hold(make_prepared):
    """Targets are random, so that whatever wins on them is chance: others show it."""
    fitted, judged = [], []
    for seed in range(3):
        prepared = make_prepared((40, 40, 40), users=100, seed=seed)
        model = small_network(prepared, seed=seed, neighbours=6)
        judged.append(fit_score(model, prepared, batches_of(prepared), nothing) or 0.0)
        ranks = rank_split(ModelScorer(model), batches_of(prepared), prepared.catalogue)
        fitted.append(user_gains(ranks.ranks, "ndcg@10").mean())
    assert np.mean(judged) < np.mean(fitted)


@pytest.mark.parametrize("kind", [SASRec, SyNCRec])
def test_nothing_to_fit_or_to_fit_on(kind, make_prepared):
    prepared = make_prepared()
    nobody = FakePrepared(prepared.catalogue, prepared.splits | {"validation": []})
    assert (
        fit_score(small_network(nobody, kind, neighbours=3), nobody, batches_of(nobody), print)
        is None
    )
    one = FakePrepared(
        prepared.catalogue, prepared.splits | {"validation": prepared.splits["validation"][:1]}
    )
    assert fit_score(small_network(one, kind, neighbours=3), one, batches_of(one), print) is None
    plain = small_network(prepared, kind, score="sum")
    assert fit_score(plain, prepared, batches_of(prepared), print) is None
