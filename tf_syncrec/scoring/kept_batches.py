"""Batches that are read once, and of which the network is asked once."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tf_syncrec.data.batches import LIKE_USERS, asked
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.utils.parallel import parallel_map

KEPT = 2**28
"""Bytes of batches that are kept, and of votes of like users: those after them are read, or looked
for, anew each time."""


class KeptBatches:
    """Targets of a split, as often as one likes, with what a trained network says of the histories.

    What is fitted after training, and what is measured then, ask the same of the same histories a
    dozen times: the network, and who is like them. Both depend on what training has learned and on
    nothing that is fitted later.

    Args:
        batches: of `data.batches.evaluation_batches`.
        model: trained.
        limit: bytes that are kept, of votes of like users as many more.
    """

    def __init__(self, batches: tf.data.Dataset, model: MultiDomainModel, limit: int = KEPT):
        self._batches, self._model, self._limit = batches, model, limit
        told = (None, *TIMED) if model.time_inputs else (None,)
        self._scorers = {asked(each): ModelScorer(model, told=each) for each in told}
        self._kept: list[dict[str, Any]] | None = None  # until somebody asks

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._kept is None:
            self._kept, self._rest = self._read()
        yield from self._kept
        yield from self._rest

    def _read(self) -> tuple[list[dict[str, Any]], Iterable[dict[str, Any]]]:
        """What is kept, and what comes after it."""
        kept: list[dict[str, Any]] = []
        left = left_of_votes = self._limit

        def with_answers(batch):
            said = {name: scorer.said(batch) for name, scorer in self._scorers.items()}
            return batch | said, self._votes(batch) if left_of_votes > 0 else {}

        with contextlib.closing(parallel_map(with_answers, self._batches)) as answered:
            for batch, votes in answered:
                if left < 0:
                    return kept, self._batches.skip(len(kept))
                left -= _bytes(batch)
                votes = votes if left_of_votes > 0 else {}
                left_of_votes -= _bytes(votes)
                kept.append(batch | votes)
        return kept, ()

    def _votes(self, batch) -> dict[str, tf.Tensor]:
        """What like users say of the items of a batch's domain."""
        model, domain = self._model, int(batch["domain"][0])
        if model.user_neighbours is None:
            return {}
        offset, size = int(model.offsets[domain]), model.domain_sizes[domain]
        votes = model.user_neighbours.votes(batch["items"], offset, size)
        return dict(zip(LIKE_USERS, votes, strict=True))


def _bytes(parts: Mapping[str, tf.Tensor]) -> int:
    """Of numbers; a string, which TensorFlow does not know the size of, is taken to have some."""
    return sum(
        part.shape.num_elements() * (64 if part.dtype == tf.string else part.dtype.size)
        for part in parts.values()
    )
