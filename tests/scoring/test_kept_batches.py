"""Batches that are kept say what they said, and the network is asked once."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.networks import fit_neighbours, small_network
from tests.support.prepared import batches_of
from tf_syncrec.data.batches import ASKED
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives
from tf_syncrec.evaluation.sampled.sampled_ranking import rank_sampled
from tf_syncrec.models.baselines.sasrec import SASRec, SASRecPair
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.scoring.kept_batches import KeptBatches

ALIKE = [pytest.param(kind, marks=pytest.mark.long) for kind in (SASRec, SASRecPair)]


@pytest.mark.parametrize("kind", [SyNCRec, *ALIKE])
def test_all_is_found_as_without(kind, make_prepared, tmp_path, monkeypatch):
    """Whatever is fitted after they were kept, and of histories that are changed."""
    prepared = make_prepared(users=120)
    model = small_network(prepared, kind, neighbours=6, user_neighbours=9)
    batches = batches_of(prepared)
    none, some, whole = (KeptBatches(batches, model, limit) for limit in (-1, 20_000, 2**28))
    fit_neighbours(model, prepared, whole, lambda line: None)
    model.user_neighbours.weight.assign(1.5)
    model.user_neighbours.backward.assign(0.4)
    if model.view_weights is not None:
        rng = np.random.default_rng(0)
        model.view_weights.single.assign(rng.uniform(0, 2, model.num_domains))
    scorer, catalogue = ModelScorer(model), prepared.catalogue
    expected = rank_split(scorer, batches, catalogue)
    changed = influence(scorer, batches, catalogue)
    anywhere = rank_all_domains(scorer, batches, catalogue)[0].ranks
    drawn = stored_negatives(tmp_path / "drawn.parquet", prepared, "validation", "sampled_all", 20)
    among_drawn = rank_sampled(scorer, batches, catalogue, drawn).ranks
    for kept in (none, some, whole):
        assert influence(scorer, kept, catalogue) == changed
        again = rank_all_domains(scorer, kept, catalogue)[0].ranks
        np.testing.assert_array_equal(again, anywhere)
        again = rank_sampled(scorer, kept, catalogue, drawn).ranks
        np.testing.assert_array_equal(again, among_drawn)
        if kept is whole:  # nobody is asked once more
            monkeypatch.setattr(model.asked, "view_queries", None)
            monkeypatch.setattr(model.asked, "queries", None)
            monkeypatch.setattr(model.user_neighbours, "votes", None)
        for _ in range(2):
            found = rank_split(scorer, kept, catalogue)
            for one, other in zip(vars(found).values(), vars(expected).values(), strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_is_weighed_is_what_the_network_says(make_prepared):
    """`ModelScorer` weighs the two scores by itself, so that they are asked for once."""
    prepared = make_prepared(users=60)
    for kind in (SyNCRec, SASRecPair):
        model = small_network(prepared, kind)
        model.view_weights.single.assign(tf.random.uniform([model.num_domains], 0, 2, seed=0))
        scorer = ModelScorer(model)
        scorer.refresh()
        for batch in batches_of(prepared).take(3):
            np.testing.assert_allclose(scorer.queries(batch), model(batch), rtol=1e-6, atol=1e-6)
            assert ASKED not in batch
