"""Recommendations for a few users, to be looked at."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from data_prep import Catalogue
from tf_syncrec.data.batches import first_users
from tf_syncrec.evaluation.full_ranking import Scorer

ROWS = 16
"""Rows in all, as long as each domain has one."""
ANSWERS = 5
HISTORY = 6
"""Latest items of a history that are shown."""


def sample_recommendations(
    scorer: Scorer, batches: Iterable, catalogue: Catalogue
) -> list[dict[str, Any]]:
    """What the first users of each domain are recommended in it; nobody picks the good ones.

    Args:
        scorer: a trained model.
        batches: of `data.batches.evaluation_batches`, each of one domain.
        catalogue: items and domains.

    Returns:
        Rows of `user_id, domain, history` (the latest item ids, oldest first), `earlier` (how many
        came before them), `recommended` (item ids, best first, of candidates alone) and `target`.
    """
    scorer.refresh()
    wanted = max(1, ROWS // catalogue.num_domains)
    rows = []
    for domain, batch in first_users(batches, np.where(catalogue.sizes > 0, wanted, 0)):
        rows += _rows(scorer, batch, domain, catalogue)
    return sorted(rows, key=lambda row: row["domain"])


def _rows(scorer, batch, domain, catalogue):
    offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
    scores = np.array(scorer.scores(scorer.queries(batch), offset, size))
    for row in range(len(scores)):
        history, excluded = batch["items"][row].numpy(), batch["excluded"][row].numpy()
        history = history[history > 0]
        own = excluded[(excluded >= offset) & (excluded < offset + size)]
        scores[row, own - offset] = -np.inf
        best = np.argsort(-scores[row], kind="stable")[: min(ANSWERS, size - len(set(own)))]
        yield {
            "user_id": batch["user_id"][row].numpy().decode(),
            "domain": catalogue.domains[domain],
            "history": catalogue.item_ids[history[-HISTORY:] - 1].tolist(),
            "earlier": max(len(history) - HISTORY, 0),
            "recommended": catalogue.item_ids[best + offset - 1].tolist(),
            "target": batch["target_item_id"][row].numpy().decode(),
        }
