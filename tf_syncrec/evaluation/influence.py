"""What the history of one domain does to the recommendations of another."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import first_users, with_history
from tf_syncrec.evaluation.full_ranking import Scorer, rank_split
from tf_syncrec.metrics.gains import SELECTION_METRIC, user_gains

USERS = 5000
"""Users of the sample in all, the first of each domain; each is ranked once for each domain that
their history has, so this costs about as much as a validation of so many."""


def influence(scorer: Scorer, batches: Iterable, catalogue: Catalogue) -> dict[str, Any]:
    """Ranks targets once more without the items of one other domain in the history.

    A trained model is asked, not trained anew: what the history of a domain does at prediction,
    which says nothing about what learning from that domain did to the weights.

    Args:
        scorer: a trained model.
        batches: of `data.batches.evaluation_batches`, each of one domain.
        catalogue: items and domains.

    Returns:
        `{domain: {other: {"users": n, "change": x, "error": e}}}`: what the other domain's items in
        the history add to the NDCG@10 of n users with a target in the domain, below 0 where they
        hurt, and its standard error. Pairs without at least two users are left out.
    """
    names = catalogue.domains
    wanted = np.full(catalogue.num_domains, max(1, USERS // catalogue.num_domains))
    sample = [batch for _, batch in first_users(batches, wanted)]
    found: dict[str, Any] = {}
    for other in range(catalogue.num_domains):
        pairs = [pair for batch in sample if (pair := _with_and_without(batch, other, catalogue))]
        if not pairs:
            continue
        gains = [
            user_gains(ranks.ranks, SELECTION_METRIC)
            for side in zip(*pairs, strict=True)
            for ranks in [rank_split(scorer, side, catalogue, with_rows=False)]
        ]
        change = gains[0] - gains[1]
        domains = np.concatenate([batch["domain"].numpy() for batch, _ in pairs])
        for d in np.unique(domains):
            own = change[domains == d]
            if len(own) > 1:
                found.setdefault(names[d], {})[names[other]] = {
                    "users": len(own),
                    "change": float(own.mean()),
                    "error": float(own.std(ddof=1) / np.sqrt(len(own))),
                }
    return {name: found[name] for name in names if name in found}


def _with_and_without(batch, other: int, catalogue: Catalogue):
    """The rows whose history has items of the other domain, as they are and without these."""
    if int(batch["domain"][0]) == other:
        return None
    items = batch["items"].numpy()
    offset, size = catalogue.offsets[other], catalogue.sizes[other]
    theirs = (items >= offset) & (items < offset + size)
    rows = np.flatnonzero(theirs.any(axis=1))
    if not len(rows):
        return None
    whole = {name: tf.gather(part, rows) for name, part in batch.items()}
    left = with_history(whole, tf.constant(~theirs[rows]), catalogue)
    # As they are, but for what is looked at: the same candidates on either side.
    return whole, left | {"excluded": whole["excluded"]}
