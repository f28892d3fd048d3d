"""What the views count in a prediction: the best on validation, in each domain."""

import numpy as np
import pytest

from tests.conftest import FakePrepared
from tests.support.networks import fit_neighbours, small_network
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.baselines.sasrec import SASRec, SASRecPair
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring import choices
from tf_syncrec.scoring.choices import LISTED, PRIOR_USERS
from tf_syncrec.scoring.view_weights import WEIGHTS, fit_view_weights

SEED = 5
"""Of a network whose views are each the better one somewhere."""


def fit(model, prepared):
    """What was said; the batches that were read."""
    said: list[str] = []
    batches = evaluation_batches(prepared, "validation", 64)
    fit_view_weights(model, prepared.catalogue, batches, said.append)
    return said, batches


def literal_choice(model, prepared, batches, prior):
    """Each domain's best of `WEIGHTS`, by ranking all of validation with each; and the gains."""
    found = []
    for weight in WEIGHTS:
        model.view_weights.single.assign(np.full(prepared.catalogue.num_domains, weight))
        ranks = rank_split(ModelScorer(model), batches, prepared.catalogue, with_rows=False)
        found.append(user_gains(ranks.ranks, "ndcg@10"))
    gains, chosen = np.array(found), []
    for d in range(prepared.catalogue.num_domains):
        own = gains[:, ranks.domains == d].sum(axis=1) + prior * gains.mean(axis=1)
        chosen.append(int(np.argmax(own)))
    return np.array(chosen), gains, ranks.domains


@pytest.mark.parametrize(
    ("kind", "neighbours", "prior"),
    [
        (SyNCRec, 6, 5),
        pytest.param(SyNCRec, 6, PRIOR_USERS, marks=pytest.mark.slow),
        *(
            pytest.param(SyNCRec, *others, marks=pytest.mark.long)
            for others in ((0, PRIOR_USERS), (0, 5))
        ),
        pytest.param(SASRecPair, 6, 5, marks=pytest.mark.long),
    ],
)
def test_validation_chooses_the_weight_of_each_domain(
    kind, neighbours, prior, make_prepared, monkeypatch
):
    """Of two views or two networks, with votes on top of the scores as they will be.

    One domain is without any item.
    """
    monkeypatch.setattr(choices, "PRIOR_USERS", prior)
    prepared = make_prepared(users=300)
    model = small_network(prepared, kind=kind, seed=SEED, neighbours=neighbours)
    fit_neighbours(
        model, prepared, evaluation_batches(prepared, "validation", 64), lambda line: None
    )
    (said,), batches = fit(model, prepared)
    received = model.view_weights.single.numpy()
    chosen, gains, domains = literal_choice(model, prepared, batches, prior)
    np.testing.assert_array_equal(received, np.array(WEIGHTS)[chosen])
    best = gains[chosen[domains], np.arange(len(domains))].mean()
    assert f"{best:.4f}, equal weights {gains[0].mean():.4f}" in said
    assert len(set(gains.mean(axis=1))) > len(WEIGHTS) // 2  # they are not all the same
    if prior < PRIOR_USERS:
        assert len(set(received)) > 1


def test_a_domain_without_validation_users_does_as_all_do(make_prepared):
    prepared = make_prepared(users=300)
    catalogue, splits = prepared.catalogue, dict(prepared.splits)
    splits["validation"] = [row for row in splits["validation"] if row["domain"] == 0]
    one = FakePrepared(catalogue, splits)
    model = small_network(one)
    _, batches = fit(model, one)
    received = model.view_weights.single.numpy()
    assert len(set(received)) == 1
    assert received[0] == WEIGHTS[literal_choice(model, one, batches, PRIOR_USERS)[0][0]]


@pytest.mark.parametrize("count", [LISTED, LISTED + 1])
def test_many_domains_are_not_all_named(count, make_prepared):
    prepared = make_prepared((3,) * count)
    (said,), _ = fit(small_network(prepared), prepared)
    named = [name for name in prepared.catalogue.domains if f"{name} " in said]
    assert len(named) == (count if count == LISTED else 0)


def test_nothing_to_choose_with_or_between_changes_nothing(make_prepared):
    prepared = make_prepared()
    nobody = FakePrepared(prepared.catalogue, prepared.splits | {"validation": []})
    model = small_network(nobody)
    assert fit(model, nobody)[0] == []
    np.testing.assert_array_equal(model.view_weights.single, 1.0)
    for other in (
        small_network(prepared, kind=SASRec),
        small_network(prepared, score="sum"),
        small_network(prepared, score="cross"),
    ):
        assert fit(other, prepared)[0] == []


def test_weights_are_saved_and_never_trained(make_prepared, tmp_path):
    prepared = make_prepared(users=120)
    model, twin = small_network(prepared), small_network(prepared, seed=1)
    model.view_weights.single.assign([0.25, 1.0, 2.0, 1.5])
    model.save_weights(tmp_path / "one.weights.h5")
    twin.load_weights(tmp_path / "one.weights.h5")
    np.testing.assert_array_equal(twin.view_weights.single, model.view_weights.single)
    assert not model.view_weights.trainable_weights
    assert model.count_trained() == small_network(prepared, score="sum").count_trained()
