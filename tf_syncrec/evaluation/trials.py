"""Ranks the targets of a split in several ways, for which the network is asked once."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, take_rows
from tf_syncrec.metrics.gains import MISS, SELECTION_METRIC, user_gains
from tf_syncrec.metrics.target_ranks import row_chunks, target_ranks
from tf_syncrec.utils.terminal import advance


class Trials(NamedTuple):
    """What several ways to score find, users in the order of the batches.

    Attributes:
        gains: the selection metric, `[users, trials]`.
        domains: domain of the target, `[users]`.
    """

    gains: np.ndarray
    domains: np.ndarray


def rank_trials(
    batches: Batches,
    catalogue: Catalogue,
    count: int,
    ask: Callable[[Any], Any],
    scores: Callable[[Any, Any, int, int], Iterator[tuple[int, Any]]],
) -> Trials:
    """Ranks the targets of a split in several ways.

    Args:
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        count: how many trials there are.
        ask: what the network says of a batch: tensors with a row a user, nested or not.
        scores: yields number and scores `[rows, size]` of each trial; its arguments are some rows
            of what `ask` returned, their histories, and first item id and size of the domain. One
            at a time, as each is as large as what may be held at once.
    """
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    gains, domains = [np.zeros([0, count])], [np.zeros([0], int)]
    for batch in batches:
        domain, targets = int(batch["domain"][0]), batch["target"]
        offset, size = offsets[domain], sizes[domain]
        ranks = np.full([len(targets), count], MISS)  # and stays so in a domain without items
        if size:
            said = ask(batch)
            for chunk in row_chunks(len(targets), size):
                items, excluded = batch["items"][chunk], batch["excluded"][chunk]
                for trial, of_trial in scores(take_rows(said, chunk), items, offset, size):
                    ranks[chunk, trial] = target_ranks(of_trial, excluded, targets[chunk], offset)
        gains.append(user_gains(ranks, SELECTION_METRIC))
        domains.append(np.full(len(targets), domain))
        advance(len(targets))
    return Trials(np.concatenate(gains), np.concatenate(domains))
