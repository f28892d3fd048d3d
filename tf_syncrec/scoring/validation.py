"""Compares several ways to score on validation, for which the network is asked once."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import take_rows
from tf_syncrec.metrics.gains import CUT_OFFS, SELECTION_METRIC, user_gains
from tf_syncrec.metrics.target_ranks import row_chunks, target_ranks


def validation_gains(
    batches: tf.data.Dataset,
    catalogue: Catalogue,
    count: int,
    ask: Callable[[dict], Any],
    scores: Callable[[Any, Any, int, int], Iterator[tuple[int, Any]]],
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks the targets of a split in several ways.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        count: how many trials there are.
        ask: what the network says of a batch: tensors with a row a user, nested or not.
        scores: yields number and scores `[rows, size]` of each trial; its arguments are some rows
            of what `ask` returned, their histories, and first item id and size of the domain. One
            at a time, as each is as large as what may be held at once.

    Returns:
        Values of the selection metric, `[users, trials]`, and the domain of each user's target,
        `[users]`; users in the order of the batches.
    """
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    gains, domains = [np.zeros([0, count])], [np.zeros([0], int)]
    for batch in batches:
        domain, targets = int(batch["domain"][0]), batch["target"]
        offset, size = offsets[domain], sizes[domain]
        ranks = np.full([len(targets), count], max(CUT_OFFS) + 1)  # without items misses, all of it
        if size:
            said = ask(batch)
            for chunk in row_chunks(len(targets), size):
                items = batch["items"][chunk]
                for trial, of_trial in scores(take_rows(said, chunk), items, offset, size):
                    ranks[chunk, trial] = target_ranks(of_trial, items, targets[chunk], offset)
        gains.append(user_gains(ranks, SELECTION_METRIC))
        domains.append(np.full(len(targets), domain))
    return np.concatenate(gains), np.concatenate(domains)
