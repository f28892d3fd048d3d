"""Sampled ranking: where the target stands among its stored negatives."""

from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue, PreparedDataset
from tf_syncrec.data.batches import without_asked
from tf_syncrec.evaluation.full_ranking import (
    REPEATS,
    Ranks,
    Scorer,
    collect_ranks,
    protocol,
    row_chunks,
    take_rows,
)
from tf_syncrec.evaluation.sampled.negatives import SEED
from tf_syncrec.evaluation.sampled.negatives_file import StoredNegatives
from tf_syncrec.metrics.gains import MISS
from tf_syncrec.metrics.target_ranks import is_candidate

DRAWN_FROM = {
    "sampled_domain": "the trained items of the target's domain",
    "sampled_all": "the trained items of all domains",
}


def sampled_protocol(name: str, prepared: PreparedDataset, count: int) -> dict[str, Any]:
    """What a sampled protocol does, as `full_ranking.protocol` says it of the full one.

    Args:
        name: one of `SAMPLED`.
        prepared: what is ranked.
        count: negatives of a target.
    """
    return {
        "name": name,
        **protocol(prepared),
        "candidates": f"the target and {count} negatives drawn uniformly without replacement "
        f"(seed {SEED}) from {DRAWN_FROM[name]}, all of them where fewer are left{REPEATS}",
        "scores": "items of every domain by the query for the target's domain",
        "selection": "validation ndcg@10 by full ranking",
    }


def rank_sampled(
    scorer: Scorer,
    batches: tf.data.Dataset,
    catalogue: Catalogue,
    negatives: StoredNegatives,
    with_rows: bool = True,
) -> Ranks:
    """Ranks every target of a split against its negatives.

    Ties and targets never seen in training count as in `metrics.target_ranks`.

    Args:
        scorer: what scores; is asked for items of any domain that negatives are of, with the
            queries for the target's domain. (RecBole's stored scores are of the target's alone.)
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        negatives: of the split.
        with_rows: as in `full_ranking.collect_ranks`.

    Raises:
        tf.errors.InvalidArgumentError: a score is not a finite number.
    """
    scorer.refresh()
    slices = list(zip(catalogue.offsets.tolist(), catalogue.sizes.tolist(), strict=True))

    def rank(batch):
        target, drawn = batch["target"].numpy(), negatives.of(batch["user_id"])
        candidates = np.where(target[:, None] > 0, np.hstack([target[:, None], drawn]), 0)
        scores = _candidate_scores(scorer, batch, candidates, slices)
        at_least = ((drawn > 0) & (scores[:, 1:] >= scores[:, :1])).sum(axis=1)
        possible = is_candidate(batch["target"], batch["excluded"])
        return [np.where(possible, 1 + at_least, MISS)]

    return collect_ranks(rank, batches, with_rows)


def _candidate_scores(scorer: Scorer, batch, candidates: np.ndarray, slices) -> np.ndarray:
    """Scores of some items of each row, the very numbers that full ranking compares.

    Args:
        scorer: what scores.
        batch: of `data.batches.evaluation_batches`.
        candidates: `[rows, any]` int32, 0 is none.
        slices: `(first item id, number of items)` of each domain.

    Returns:
        `[rows, any]` float32.
    """
    scores = np.zeros(candidates.shape, np.float32)
    queries = None
    for offset, size in slices:
        row, column = np.nonzero((candidates >= offset) & (candidates < offset + size))
        if not len(row):  # also of a domain without items
            continue
        if queries is None:  # by which any domain can be asked for
            queries = scorer.queries(without_asked(batch))
        for chunk in row_chunks(len(candidates), size):
            of_items = scorer.scores(take_rows(queries, chunk), offset, size)
            of_items = tf.debugging.check_numerics(of_items, "scores")
            part = slice(*np.searchsorted(row, [chunk.start, chunk.stop]))
            place = candidates[row[part], column[part]] - offset
            at = np.stack([row[part] - chunk.start, place], axis=1)
            scores[row[part], column[part]] = tf.gather_nd(of_items, at)  # and nothing else copied
    return scores
