"""Recommendations for a few users, and users for a few new items, to be looked at."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import first_users
from tf_syncrec.evaluation.full_ranking import Scorer, take_rows
from tf_syncrec.metrics.target_ranks import row_chunks, target_ranks, without

ROWS = 16
"""Rows in all, as long as each domain has one."""
ANSWERS = 5
HISTORY = 6
"""Latest items of a history that are shown."""
NEW_ITEMS = 10
"""Items that nobody had in training, as long as each domain that has any has one."""
AUDIENCE = 3
ASKED_USERS = 1024
"""Users of a domain among whom those are looked for who are recommended an item first."""


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
    scores = without(scores, batch["excluded"], offset).numpy()
    for row in range(len(scores)):
        candidates = np.count_nonzero(scores[row] > -np.inf)
        best = np.argsort(-scores[row], kind="stable")[: min(ANSWERS, candidates)]
        yield _user(batch, row, catalogue) | {
            "domain": catalogue.domains[domain],
            "recommended": catalogue.item_ids[best + offset - 1].tolist(),
            "target": batch["target_item_id"][row].numpy().decode(),
        }


def _user(batch, row, catalogue) -> dict[str, Any]:
    """Who somebody is: an id, the latest items, and how many came before them."""
    history = batch["items"][row].numpy()
    history = history[history > 0]
    return {
        "user_id": batch["user_id"][row].numpy().decode(),
        "history": catalogue.item_ids[history[-HISTORY:] - 1].tolist(),
        "earlier": max(len(history) - HISTORY, 0),
    }


def sample_new_items(
    scorer: Scorer, batches: Iterable, catalogue: Catalogue
) -> list[dict[str, Any]]:
    """Who is recommended some items first that nobody had in training; nobody picks the good ones.

    They stand at equal distances among those of their domain.

    Args:
        scorer: a trained model.
        batches: of `data.batches.evaluation_batches`, each of one domain.
        catalogue: items and domains.

    Returns:
        Rows of `item_id, domain, candidates` (of the domain) and `users`, those of the first
        `ASKED_USERS` of the domain among whose candidates the item stands first: `user_id, history,
        earlier` as of `sample_recommendations`, and `rank`, 1 = best.
    """
    new = {
        domain: np.flatnonzero(catalogue.cold[1:] & (catalogue.item_domains == domain)) + 1
        for domain in range(catalogue.num_domains)
    }
    new = dict([(domain, items) for domain, items in new.items() if len(items)][:NEW_ITEMS])
    if not new:
        return []
    shown = {
        domain: items[np.linspace(0, len(items), max(1, NEW_ITEMS // len(new)), False).astype(int)]
        for domain, items in new.items()
    }
    shown = {domain: np.unique(items) for domain, items in shown.items()}
    scorer.refresh()
    found: dict[int, list[dict[str, Any]]] = {item: [] for own in shown.values() for item in own}
    wanted = [ASKED_USERS if domain in shown else 0 for domain in range(catalogue.num_domains)]
    for domain, batch in first_users(batches, wanted):
        items = shown[domain]
        ranks = _ranks(scorer, batch, domain, catalogue, items)
        for item, of_users in zip(items, ranks.T, strict=True):
            best = np.argsort(of_users, kind="stable")[:AUDIENCE]
            found[item] += [
                _user(batch, row, catalogue) | {"rank": int(of_users[row])}
                for row in best
                if np.isfinite(of_users[row])
            ]
            found[item] = sorted(found[item], key=lambda user: user["rank"])[:AUDIENCE]
    return [
        {
            "item_id": str(catalogue.item_ids[item - 1]),
            "domain": catalogue.domains[domain],
            "candidates": int(catalogue.sizes[domain]),
            "users": found[item],
        }
        for domain, items in shown.items()
        for item in items.tolist()
    ]


def _ranks(scorer, batch, domain, catalogue, items) -> np.ndarray:
    """Where items stand among the candidates of each user, `[rows, items]`."""
    offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
    queries, rows = scorer.queries(batch), len(batch["target"])
    parts = []
    for chunk in row_chunks(rows, size):
        scores = tf.convert_to_tensor(scorer.scores(take_rows(queries, chunk), offset, size))
        out = batch["excluded"][chunk]
        parts.append(
            np.stack(
                [
                    target_ranks(scores, out, tf.fill([len(scores)], int(item)), offset).numpy()
                    for item in items
                ],
                axis=1,
            )
        )
    return np.concatenate(parts)
