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
    whole = _gains(scorer, sample, catalogue)
    first_rows = np.cumsum([0, *(len(batch["domain"]) for batch in sample)])
    found: dict[str, Any] = {}
    for other in range(catalogue.num_domains):
        rows, without = [], []
        for batch, first in zip(sample, first_rows[:-1], strict=True):
            theirs = _rows_with(batch, other, catalogue)
            if theirs.any():
                rows.append(first + np.flatnonzero(theirs.any(axis=1)))
                without.append(_without(batch, theirs, catalogue))
        if not rows:
            continue
        change = whole[np.concatenate(rows)] - _gains(scorer, without, catalogue)
        domains = np.concatenate([batch["domain"].numpy() for batch in without])
        for d in np.unique(domains):
            own = change[domains == d]
            if len(own) > 1:
                found.setdefault(names[d], {})[names[other]] = {
                    "users": len(own),
                    "change": float(own.mean()),
                    "error": float(own.std(ddof=1) / np.sqrt(len(own))),
                }
    return {name: found[name] for name in names if name in found}


def _gains(scorer: Scorer, batches: Iterable, catalogue: Catalogue) -> np.ndarray:
    """The selection metric of each row of some batches."""
    ranks = rank_split(scorer, batches, catalogue, with_rows=False).ranks
    return user_gains(ranks, SELECTION_METRIC)


def _rows_with(batch, other: int, catalogue: Catalogue) -> np.ndarray:
    """Where histories have items of another domain than that of the targets, `[rows, length]`."""
    items = batch["items"].numpy()
    offset, size = catalogue.offsets[other], catalogue.sizes[other]
    return (items >= offset) & (items < offset + size) & (int(batch["domain"][0]) != other)


def _without(batch, theirs: np.ndarray, catalogue: Catalogue):
    """The rows that have such items, without these; the same candidates as with them."""
    rows = np.flatnonzero(theirs.any(axis=1))
    whole = {name: tf.gather(part, rows) for name, part in batch.items()}
    left = with_history(whole, tf.constant(~theirs[rows]), catalogue)
    return left | {"excluded": whole["excluded"]}
