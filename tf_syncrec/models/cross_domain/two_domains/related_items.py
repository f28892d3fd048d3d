"""Which items of each domain an item is related to: those that the same users had."""

import numpy as np

from tf_syncrec.data.batches import Sequences
from tf_syncrec.data.item_similarity import similarities, user_items

RELATED = 10
"""Items of each domain that an item is related to."""


def related_items(prepared: Sequences, count: int = RELATED) -> np.ndarray:
    """The items of each domain that most of the users of an item had as well, by cosine.

    Args:
        prepared: dataset with a `train` split.
        count: of each domain.

    Returns:
        `[items + 1, domains, count]` int32 ids, the most similar first, filled up with 0.
    """
    catalogue = prepared.catalogue
    offsets = 1 + np.concatenate([[0], np.cumsum(catalogue.sizes)[:-1]])
    found = np.zeros((catalogue.num_items + 1, catalogue.num_domains, count), np.int32)
    lists = similarities(user_items(prepared), catalogue, neighbours=count)
    for domain, similar in enumerate(lists):
        rows = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
        order = np.lexsort((similar.indices, -similar.data, rows))
        rank = np.arange(len(rows)) - similar.indptr[rows]
        found[rows, domain, rank] = offsets[domain] + similar.indices[order]
    return found
