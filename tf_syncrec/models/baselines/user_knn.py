"""User-kNN: what the users had next whose histories are most alike, without training."""

import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.item_similarity import TrainingHistories
from tf_syncrec.layers import UserNeighbours
from tf_syncrec.layers.score_terms.item_neighbours import add_votes
from tf_syncrec.models.base import VOTING


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
        self._layer = UserNeighbours(catalogue.num_items, count, VOTING, *sizes)
        self._layer.build()
        self._layer.set_histories(*histories)
        self.backward = backward

    def refresh(self) -> None:
        """Nothing is learned after fitting."""

    def queries(self, batch):
        """Item ids and votes for them, each `[batch, any]`."""
        ids, after, before = self._layer.votes(tf.cast(batch["items"], tf.int32))
        return ids, after + self.backward * before

    def scores(self, queries, offset: int, size: int):
        """Scores of a domain's items, `[rows, size]` float32; 0 of what none of the users had."""
        ids, votes = queries
        return add_votes(tf.zeros([tf.shape(ids)[0], size]), ids, votes, offset)
