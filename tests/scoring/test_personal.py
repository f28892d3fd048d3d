"""One's own favourites, the rule that a network has to beat where people come back."""

import numpy as np

from data_prep import prepare
from tests.support.prepared import batches_of, coming_back
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import PopularityScorer, rank_split
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.scoring.personal import fit_personal


def test_own_items_come_first_where_people_come_back(make_prepared):
    prepared = coming_back(make_prepared)
    catalogue = prepared.catalogue
    scorer = fit_personal(prepared, batches_of(prepared))
    personal = rank_split(scorer, batches_of(prepared, "test"), catalogue)
    popularity = rank_split(
        PopularityScorer(catalogue.counts), batches_of(prepared, "test"), catalogue
    )
    again = catalogue.repeats[personal.domains]
    assert (personal.ranks[again] == 1).mean() > 0.5 > (popularity.ranks[again] == 1).mean()
    np.testing.assert_array_equal(personal.ranks[~again], popularity.ranks[~again])


def test_planted_habits_and_rhythm_are_found(tmp_path):
    """By whoever is told: which favourite is used depends on the hour."""
    settings = {"kind": "telco", "users": 700, "interactions_per_user": 80}
    prepared = prepare("synthetic", data_dir=tmp_path, synthetic=settings)
    batches = batches_of(prepared, "test")
    scorer = fit_personal(prepared, batches_of(prepared))
    popularity = PopularityScorer(prepared.catalogue.counts)
    found = [
        user_gains(rank_split(each, batches, prepared.catalogue).ranks, "ndcg@10").mean()
        for each in (popularity, scorer, *map(scorer.told, TIMED))
    ]
    assert found[1] > 3 * found[0]
    assert found[3] > found[2] > found[1] + 0.01
