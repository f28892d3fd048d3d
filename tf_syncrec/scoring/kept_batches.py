"""Batches that are read once, and of which the network is asked once."""

from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from tf_syncrec.data.batches import asked
from tf_syncrec.evaluation import TIMED
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.models.base import MultiDomainModel

KEPT = 2**28
"""Bytes of batches that are kept; those after them are read and asked anew each time."""


class KeptBatches:
    """Targets of a split, as often as one likes, with what a trained network says of the histories.

    What is fitted after training, and what is measured then, ask the same of the same histories a
    dozen times. It depends on what training has learned and on nothing that is fitted later.

    Args:
        batches: of `data.batches.evaluation_batches`.
        model: trained.
        limit: bytes that are kept.
    """

    def __init__(self, batches: tf.data.Dataset, model: MultiDomainModel, limit: int = KEPT):
        self._batches, self._limit = batches, limit
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
        left = self._limit
        for batch in self._batches:
            if left < 0:
                return kept, self._batches.skip(len(kept))
            said = {name: scorer.said(batch) for name, scorer in self._scorers.items()}
            kept.append(batch | said)
            left -= sum(_bytes(part) for part in kept[-1].values())
        return kept, ()


def _bytes(part: tf.Tensor) -> int:
    """Of numbers; a string, which TensorFlow does not know the size of, is taken to have some."""
    return part.shape.num_elements() * (64 if part.dtype == tf.string else part.dtype.size)
