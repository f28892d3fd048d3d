"""BPRMF: matrix factorisation with sampled negatives (Rendle et al., UAI 2009)."""

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers import Dropout, group_by_domain, item_domains
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.sequential import Losses, mean_over_targets


class BPRMF(MultiDomainModel):
    """One vector a user and one an item: who the user is, and not what came last.

    Loss and similarity are those of the configuration, like everybody's; the original has
    `loss.name: bpr`, `loss.negatives: 1`, `loss.shared_negatives: false`, `model.similarity: dot`.

    Args:
        config: the run's configuration.
        domain_sizes: trained items of each domain.
        user_ids: `[users]` bytes, the users of the training set.
    """

    evaluation_signature: ClassVar = MultiDomainModel.evaluation_signature | {
        "user_id": tf.TensorSpec([None], tf.string)
    }

    batch_layout = "users"

    def __init__(self, config, domain_sizes, user_ids, **kwargs):
        super().__init__(config, domain_sizes, **kwargs)
        self.user_ids = np.asarray(user_ids, object)
        # Somebody unknown gets the last row, which is never trained.
        self._lookup = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(self.user_ids, np.arange(len(user_ids))),
            len(user_ids),
        )
        dim = config.model.dim
        self.users = keras.layers.Embedding(
            len(user_ids) + 1, dim, keras.initializers.RandomNormal(stddev=dim**-0.5)
        )
        self.dropout = Dropout(config.model.dropout)
        self.users.build()
        self.build_parts()
        for unread in (self.embedding.start_tokens, self.embedding.positions):
            unread.trainable = False

    @classmethod
    def from_data(cls, config, prepared):
        """As in `MultiDomainModel`, with the users of the training set."""
        users = [
            ids
            for batch in prepared.as_dataset("train").map(lambda row: row["user_id"]).batch(65536)
            for ids in batch.numpy()
        ]
        return cls(config, prepared.catalogue.sizes, np.array(users, object))

    @property
    def tables(self):
        """Items and users."""
        return [*super().tables, self.users.embeddings]

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"user_id": [batch]}`."""
        return self.user_vectors(self._lookup.lookup(inputs["user_id"]))

    def user_vectors(self, rows):
        """What users look for, in any domain.

        Args:
            rows: `[batch]`, places in `user_ids`.

        Returns:
            `[batch, dim]` float32.
        """
        users = tf.gather(tf.convert_to_tensor(self.users.embeddings), rows)
        return tf.cast(self.similarity.query(users), tf.float32)

    def batch_losses(self, items, segments=None, training=True, user_id=None) -> Losses:
        """As in `MultiDomainModel`; every item is a target, in no order.

        Args:
            items: `[batch, length]` int32, padded with 0.
            segments: not read: a row is of one user.
            training: whether dropout is on.
            user_id: `[batch]` string.
        """
        domains = item_domains(items, self.offsets)
        blocks = group_by_domain(domains, self.num_domains)
        users = tf.gather(self.users.embeddings.value, self._lookup.lookup(user_id))
        slots = self.dropout(
            tf.repeat(users[:, None], tf.shape(items)[1], axis=1), training=training
        )
        (losses,) = self.target_losses([blocks.gather(slots)], blocks.gather(items), blocks)
        return mean_over_targets(losses, blocks)
