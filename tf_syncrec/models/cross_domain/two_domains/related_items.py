"""Which items of each domain an item is related to: those that the same users had."""

import numpy as np

from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import similarities, user_items

RELATED = 10
"""Items of each domain that an item is related to."""

LEAST_USERS = 5
"""Users who have to have had both of two related items in training.

Each of them is told by it what their own targets are: with 1, of a log of 285,000 interactions in
six domains, 34 % of the targets of users who are counted are related to what was before them, and
7 % of those of users who are not, as all are after training; with 2 it is 18 % and 7 %, with 5 it
is 9 % and 6 %.
"""


def related_items(
    prepared: Sequences, count: int = RELATED, least_users: int = LEAST_USERS
) -> np.ndarray:
    """The items of each domain that most of the users of an item had as well, by cosine.

    Args:
        prepared: dataset with a `train` split.
        count: of each domain.
        least_users: who had both, of two related items.

    Returns:
        `[items + 1, domains, count]` int32 ids, the most similar first, filled up with 0.
    """
    catalogue = prepared.catalogue
    offsets = 1 + np.concatenate([[0], np.cumsum(catalogue.sizes)[:-1]])
    found = np.zeros((catalogue.num_items + 1, catalogue.num_domains, count), np.int32)
    lists = similarities(user_items(prepared), catalogue, neighbours=count, least_users=least_users)
    for domain, similar in enumerate(lists):
        rows = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
        order = np.lexsort((similar.indices, -similar.data, rows))
        rank = np.arange(len(rows)) - similar.indptr[rows]
        found[rows, domain, rank] = offsets[domain] + similar.indices[order]
    return found
