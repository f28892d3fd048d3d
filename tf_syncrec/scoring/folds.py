"""Users in parts: what is fitted on some is judged on others, and nobody is ranked twice alike."""

import dataclasses
import hashlib
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_syncrec.evaluation.full_ranking import Batches
from tf_syncrec.evaluation.trials import Trials
from tf_syncrec.models.base import MultiDomainModel

FOLDS = 2
"""Parts of the users, of which one judges what was fitted on the others."""


class Folds:
    """Batches whose users fall into parts, which follow from their ids.

    Args:
        batches: of `data.batches.evaluation_batches`.
    """

    def __init__(self, batches: Batches):
        self.batches = batches
        self.kept: dict[tuple[Hashable, int], Trials] = {}
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

    def trials(self, state: Hashable, rank: Callable[[Batches], Trials]) -> Trials:
        """What `rank` finds of these users; each part of them is ranked once in each state."""
        kept = self.whole.kept
        for fold in self.folds:
            if (state, fold) not in kept:
                kept[state, fold] = rank(OfFolds(self.whole, [fold]))
        parts = [kept[state, fold] for fold in self.folds]
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
