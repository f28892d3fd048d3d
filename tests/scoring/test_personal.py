"""One's own favourites, the rule that a network has to beat where people come back."""

import numpy as np

from tests.support.prepared import batches_of, coming_back
from tf_syncrec.evaluation.full_ranking import PopularityScorer, rank_split
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
