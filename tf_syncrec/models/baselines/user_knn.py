"""User-kNN: what the users had next whose histories are most alike, without training."""

import copy
import threading
from typing import Any, Self

import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.item_similarity import TrainingHistories
from tf_syncrec.layers import UserNeighbours
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.layers.score_terms.user_neighbours import UserVotes
from tf_syncrec.models.score_terms import VOTING


class UserKNN:
    """Scores a candidate by the votes of `layers.UserNeighbours`, and nothing else.

    No network, and the same term that the networks have: what they add to it is what is learned.

    Args:
        histories: of the training users.
        catalogue: items and domains.
        count: users who vote.
        backward: what they had before the last shared item, relative to what they had after it.

    References:
        - [STAN](https://doi.org/10.1145/3331184.3331322) (SIGIR 2019)
    """

    def __init__(
        self, histories: TrainingHistories, catalogue: Catalogue, count: int, backward: float
    ):
        sizes = len(histories.ends) - 1, len(histories.items)
        self._asked = _AskedOnce(UserNeighbours(catalogue.num_items, count, VOTING, *sizes))
        self._asked.layer.build()
        self._asked.layer.set_histories(*histories)
        self.backward = backward

    def with_backward(self, backward: float) -> Self:
        """The same neighbours, looked for once if both score a batch one after the other."""
        other = copy.copy(self)
        other.backward = backward
        return other

    def refresh(self) -> None:
        """Nothing is learned after fitting."""

    def queries(self, batch):
        """Item ids and votes for them, each `[batch, any]`."""
        ids, after, before = self._asked.votes(batch["items"])
        return ids, after + self.backward * before

    def scores(self, queries, offset: int, size: int):
        """Scores of a domain's items, `[rows, size]` float32; 0 of what none of the users had."""
        ids, votes = queries
        return add_votes(tf.zeros([tf.shape(ids)[0], size]), ids, votes, offset)


class _AskedOnce(threading.local):
    """Remembers what the layer says of the latest batch of each thread."""

    def __init__(self, layer: UserNeighbours):
        self.layer = layer
        self._latest: tuple[Any, UserVotes] | None = None

    def votes(self, items) -> UserVotes:
        if self._latest is None or self._latest[0] is not items:
            self._latest = items, self.layer.votes(tf.cast(items, tf.int32))
        return self._latest[1]
