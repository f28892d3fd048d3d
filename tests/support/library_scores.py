"""What the scores of another library have to be, whichever it is."""

import pytest

from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import rank_split


def check_scores(scorers, info, prepared):
    """Selected by our ranking; items that the library does not know are behind all others."""
    ranks = rank_split(
        scorers["validation"], evaluation_batches(prepared, "validation", 16), prepared.catalogue
    )
    measured = ranks.metrics(prepared.catalogue.domains)["overall"]["ndcg@10"]
    assert info["validation_ndcg@10"] == pytest.approx(measured, abs=1e-6)
    seen = 0
    for batch in evaluation_batches(prepared, "test", 16):
        domain = int(batch["domain"][0])
        offset, size = prepared.catalogue.offsets[domain], prepared.catalogue.sizes[domain]
        scores = scorers["test"].scores(scorers["test"].queries(batch), offset, size)
        untrained = prepared.catalogue.counts[offset - 1 : offset - 1 + size] == 0
        if untrained.any() and not untrained.all():
            assert (scores[:, untrained].max(axis=1) < scores[:, ~untrained].min(axis=1)).all()
            seen += len(scores)
    assert seen > 20
