"""What the two views of a network say about the domains: numbers, invariances, noise, harm."""

import numpy as np
import pytest

from tests.conftest import FakePrepared
from tests.support.networks import fit_neighbours, small_network
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.significance import compare_to_reference
from tf_syncrec.evaluation.verdicts import UNCLEAR, VIEWS, compare_views, verdict
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.models.baselines.sasrec import SASRec

SCORES = {"single": "single", "cross": "cross", "blend": "sum"}
"""What the views are called in the configuration."""


def views_of(model, prepared):
    return compare_views(model, prepared.catalogue, evaluation_batches(prepared, "validation", 64))


def literal_gains(prepared):
    """NDCG@10 of each user by networks that have one score each; and the users' domains."""
    found = {}
    for view, score in SCORES.items():
        batches = evaluation_batches(prepared, "validation", 64)
        scorer = ModelScorer(small_network(prepared, score=score))
        ranks = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
        found[view] = user_gains(ranks.ranks, "ndcg@10")
    return found, ranks.domains


@pytest.mark.slow
def test_each_view_ranks_as_a_network_of_that_view_does(make_prepared):
    prepared = make_prepared(users=300)
    found = views_of(small_network(prepared), prepared)
    gains, domains = literal_gains(prepared)
    against = compare_to_reference(gains, "single", domains, prepared.catalogue.domains)
    assert list(found["domains"]) == list(prepared.catalogue.domains)
    for d, name in enumerate(prepared.catalogue.domains):
        row = found["domains"][name]
        assert row["users"] == np.sum(domains == d) > 0
        for view in VIEWS:
            np.testing.assert_allclose(row[view], gains[view][domains == d].mean(), rtol=1e-12)
        for view in ("cross", "blend"):
            assert row[f"{view}_less_single"] == against[view]["domains"][name]
    assert found["overall"]["cross_less_single"] == against["cross"]["overall"]
    assert len({found["overall"][view] for view in VIEWS}) == len(VIEWS)


def test_votes_and_fitted_weights_have_no_say(make_prepared):
    prepared = make_prepared(users=120)
    plain, voting = small_network(prepared), small_network(prepared, neighbours=6)
    batches = evaluation_batches(prepared, "validation", 64)
    fit_neighbours(voting, prepared, batches, lambda line: None)
    voting.neighbours.weight.assign(40.0)
    voting.view_weights.single.assign([0.25, 2.0, 1.0, 0.0])
    assert views_of(voting, prepared) == views_of(plain, prepared)


def test_random_weights_neither_help_nor_hurt(make_prepared):
    """Users are many, targets are noise: whatever the two views say, they are as good."""
    prepared = make_prepared((40, 30, 50), users=1500)
    found = views_of(small_network(prepared), prepared)
    assert {row["verdict"] for row in found["domains"].values()} == {UNCLEAR}


def test_a_view_that_knows_the_target_helps_there_alone(make_prepared):
    """In one domain the next item repeats a hint of another domain, in one it is noise."""
    rng = np.random.default_rng(0)
    prepared = make_prepared((20, 20, 20), users=600)
    rows = []
    for row in prepared.splits["validation"]:
        target, domain = int(rng.integers(1, 21)), 0
        hint = 20 + target  # of the second domain
        if rng.random() < 0.5:
            target, domain = int(rng.integers(41, 61)), 2
        rows.append(
            row
            | {"target": target, "domain": domain}
            | {"items": np.array([45, 3, hint], np.int32)}
        )
    hinted = FakePrepared(prepared.catalogue, prepared.splits | {"validation": rows})
    model = small_network(hinted)
    table = model.embedding.items.numpy()
    table[1:21] = table[21:41]  # an item and its hint look alike
    model.embedding.items.assign(table)
    # The cross view looks for what came last, the single view for what it makes of item 3.
    cross = model.cross_queries

    def looks_for_the_last(items, domains, times=None):
        found = model.candidate_vectors(items[:, -1:])
        return found + 0.0 * cross(items, domains)

    model.cross_queries = looks_for_the_last
    found = views_of(model, hinted)["domains"]
    names = hinted.catalogue.domains
    assert [found[name]["verdict"] for name in names] == ["helped", UNCLEAR, UNCLEAR]
    assert found[names[0]]["cross_less_single"]["low"] > 0
    model.cross_queries, model.single_queries = cross, looks_for_the_last
    vars(model).pop("asked")  # compiled with what they were
    assert views_of(model, hinted)["domains"][names[0]]["verdict"] == "hurt"


def test_one_view_has_nothing_to_compare(make_prepared):
    prepared = make_prepared()
    assert views_of(small_network(prepared, SASRec), prepared) == {}


def test_nobody_is_no_evidence(make_prepared):
    prepared = make_prepared()
    nobody = FakePrepared(prepared.catalogue, prepared.splits | {"validation": []})
    found = views_of(small_network(nobody), nobody)
    assert {row["verdict"] for row in found["domains"].values()} == {UNCLEAR}
    assert found["overall"]["users"] == 0


@pytest.mark.parametrize(
    ("mean", "p_holm", "expected"),
    [
        (0.1, 0.04, "helped"),
        (-0.1, 0.04, "hurt"),
        (-0.1, 0.05, UNCLEAR),
        (0.1, 0.06, UNCLEAR),
    ],
)
def test_the_corrected_p_value_decides(mean, p_holm, expected):
    assert verdict({"mean": mean, "p_value": 0.01, "p_holm": p_holm}) == expected
