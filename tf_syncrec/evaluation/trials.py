"""Ranks the targets of a split in several ways, for which the network is asked once."""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.evaluation.full_ranking import Batches, take_rows
from tf_syncrec.metrics.gains import MISS, SELECTION_METRIC, user_gains
from tf_syncrec.metrics.target_ranks import row_chunks, target_ranks
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.utils.parallel import parallel_map
from tf_syncrec.utils.terminal import advance

CUT_OFF = int(SELECTION_METRIC.partition("@")[2])
"""Of a rank behind this one, `SELECTION_METRIC` is 0."""


Found = TypeVar("Found")


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

    def rank(said, items, excluded, targets, offset, size):
        ranks = np.empty([len(targets), count])
        for trial, of_trial in scores(said, items, offset, size):
            ranks[:, trial] = target_ranks(of_trial, excluded, targets, offset)
        return ranks

    return rank_chunks(batches, catalogue, count, ask, rank)


def rank_chunks(batches, catalogue, count, ask, rank) -> Trials:
    """Ranks `[rows, count]` of some rows at a time, several batches at once; gains of all."""
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    gains, domains = [np.zeros([0, count])], [np.zeros([0], int)]

    def of_batch(batch):
        domain, targets = int(batch["domain"][0]), batch["target"]
        offset, size = offsets[domain], sizes[domain]
        ranks = np.full([len(targets), count], MISS)  # and stays so in a domain without items
        if size:
            said = ask(batch)
            for chunk in row_chunks(len(targets), size):
                items, excluded = batch["items"][chunk], batch["excluded"][chunk]
                rows = take_rows(said, chunk)
                ranks[chunk] = rank(rows, items, excluded, targets[chunk], offset, size)
        return user_gains(ranks, SELECTION_METRIC), np.full(len(targets), domain)

    for found, of_targets in parallel_map(of_batch, batches):
        gains.append(found)
        domains.append(of_targets)
        advance(len(found))
    return Trials(np.concatenate(gains), np.concatenate(domains))


FOLDS = 2
"""Parts of the users, of which one judges what was fitted on the others."""


class Folds:
    """Batches whose users fall into parts, which follow from their ids.

    Args:
        batches: of `data.batches.evaluation_batches`.
    """

    def __init__(self, batches: Batches):
        self.batches = batches
        self.kept: dict[tuple[Hashable, int], Any] = {}
        """What was found of the users of each part."""
        self.order = np.zeros(0, int)
        """The part of each user, in the order of the batches, once they have been read."""

    def only(self, *folds: int) -> "OfFolds":
        """The users of some parts; of none that is named, all."""
        return OfFolds(self, folds or tuple(range(FOLDS)))


@dataclasses.dataclass
class OfFolds:
    """Batches of the users of some parts."""

    whole: Folds
    folds: Sequence[int]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        order = [np.zeros(0, int)]
        for batch in self.whole.batches:
            users = batch["user_id"].numpy()
            order.append(np.array([zlib.crc32(user) % FOLDS for user in users], int))
            rows = np.flatnonzero(np.isin(order[-1], self.folds))
            if len(rows) == len(users):
                yield dict(batch)
            elif len(rows):
                yield {name: tf.gather(part, rows) for name, part in batch.items()}
        self.whole.order = np.concatenate(order)

    def found(self, state: Hashable, find: Callable[[Batches], Found]) -> list[Found]:
        """What `find` finds of each part of these users, which is asked once in each state."""
        kept = self.whole.kept
        for fold in self.folds:
            if (state, fold) not in kept:
                kept[state, fold] = find(OfFolds(self.whole, [fold]))
        return [kept[state, fold] for fold in self.folds]

    def trials(self, state: Hashable, rank: Callable[[Batches], Trials]) -> Trials:
        """What `rank` finds of these users; each part of them is ranked once in each state."""
        parts = self.found(state, rank)
        owner = self.whole.order[np.isin(self.whole.order, self.folds)]
        gains = np.zeros([len(owner), parts[0].gains.shape[1]])
        domains = np.zeros(len(owner), int)
        for fold, part in zip(self.folds, parts, strict=True):
            gains[owner == fold], domains[owner == fold] = part
        return Trials(gains, domains)


def score_so_far(model: MultiDomainModel) -> bytes:
    """A fingerprint of all of a score that is fitted after training, as it is now."""
    found = hashlib.blake2b()
    for part in (*model.terms, *filter(None, [model.view_weights])):
        for weight in part.weights:
            found.update(np.asarray(weight).tobytes())
    return found.digest()


def trials_of(validation: Batches, state: Hashable, rank: Callable[[Batches], Trials]) -> Trials:
    """What a way of ranking finds on validation, which parts of the users may have been asked for.

    Args:
        validation: batches, or those of `Folds`.
        state: what is ranked, and `score_so_far`.
        rank: ranks the users of batches.
    """
    return validation.trials(state, rank) if isinstance(validation, OfFolds) else rank(validation)


def found_in_parts(
    validation: Batches, state: Hashable, find: Callable[[Batches], Found]
) -> list[Found]:
    """What somebody finds on validation, in one part or, of `Folds`, in as many as they have.

    Args:
        validation: as of `trials_of`.
        state: likewise.
        find: asks the users of batches.
    """
    return validation.found(state, find) if isinstance(validation, OfFolds) else [find(validation)]
