"""BPRMF: matrix factorisation with sampled negatives (Rendle et al., UAI 2009)."""

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.layers import DomainBlocks, Dropout, group_by_domain, item_domains
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.sequential import Losses, mean_over_targets


@keras.saving.register_keras_serializable("tf_syncrec")
class BPRMF(MultiDomainModel):
    """One vector a user and one an item: who the user is, and not what came last.

    Loss and similarity are like everybody's; the original has `loss="bpr"`, `negatives=1`,
    `shared_negatives=False`, `similarity="dot"`.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: `[users]`, the users of the training set, bytes or text.
        kwargs: as in `MultiDomainModel`.
    """

    evaluation_signature: ClassVar = MultiDomainModel.evaluation_signature | {
        "user_id": tf.TensorSpec([None], tf.string)
    }

    reads_times = False

    batch_layout = "users"

    def __init__(self, domain_sizes, user_ids, **kwargs):
        super().__init__(domain_sizes, **kwargs)
        ids = (user.decode() if isinstance(user, bytes) else str(user) for user in user_ids)
        self.user_ids = np.array(list(ids), object)
        # Somebody unknown gets the last row, which is never trained.
        self._lookup = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(self.user_ids, np.arange(len(user_ids))),
            len(user_ids),
        )
        self.users = keras.layers.Embedding(
            len(user_ids) + 1,
            self.user_width,
            keras.initializers.RandomNormal(stddev=self.dim**-0.5),
            dtype=self.dtype_policy,
        )
        self.dropout = Dropout(self.dropout_rate, dtype=self.dtype_policy)
        self.users.build()
        self.users.embeddings.read_by_rows = True
        self.build_parts()
        for unread in (self.embedding.start_tokens, self.embedding.positions):
            unread.trainable = False

    @property
    def user_width(self) -> int:
        """Numbers that a user has."""
        return self.dim

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"user_ids": self.user_ids.tolist()}

    @classmethod
    def arguments_from(cls, prepared):
        """As in `MultiDomainModel`: the users of the training set."""
        users = [
            ids
            for batch in prepared.as_dataset("train").map(lambda row: row["user_id"]).batch(65536)
            for ids in batch.numpy()
        ]
        return {"user_ids": users}

    def call(self, inputs, training=None):
        """Query vectors `[batch, dim]` of `{"user_id": [batch], "domain": [batch]}`."""
        rows = self._lookup.lookup(inputs["user_id"])
        return self.user_vectors(rows, tf.convert_to_tensor(inputs["domain"])[:, None])[:, 0]

    def domain_queries(self, inputs):
        """As in `MultiDomainModel`."""
        rows = self._lookup.lookup(inputs["user_id"])
        domains = tf.range(self.num_domains)[None]
        return self.user_vectors(rows, tf.tile(domains, [tf.shape(rows)[0], 1]))

    def user_vectors(self, rows, domains):
        """What users look for; here the same in all domains.

        Args:
            rows: `[batch]`, places in `user_ids`.
            domains: `[batch, queries]` int32.

        Returns:
            `[batch, queries, dim]` float32.
        """
        users = tf.gather(tf.convert_to_tensor(self.users.embeddings), rows)
        query = tf.cast(self.similarity.query(users), tf.float32)
        return tf.tile(query[:, None], [1, tf.shape(domains)[1], 1])

    def batch_losses(
        self, items, segments=None, training=True, timestamps=None, user_id=None
    ) -> Losses:
        """As in `MultiDomainModel`; every item is a target, in no order.

        Args:
            items: `[batch, length]` int32, padded with 0.
            segments: not read: a row is of one user.
            training: whether dropout is on.
            timestamps: not read.
            user_id: `[batch]` string.
        """
        domains = item_domains(items, self.offsets)
        blocks = group_by_domain(domains, self.num_domains)
        y = self.representations(self._lookup.lookup(user_id), domains)
        y = self.dropout(y, training=training)
        (losses,) = self.target_losses([blocks.gather(y)], blocks.gather(items), blocks)
        return self.mean_loss(losses, blocks)

    def representations(self, rows, domains):
        """Of users, for each of their targets; here the same for all.

        Args:
            rows: `[batch]`, places in `user_ids`.
            domains: `[batch, slots]` int32, of the targets; -1 pads.

        Returns:
            `[batch, slots, dim]`.
        """
        users = tf.gather(self.users.embeddings.value, rows)
        return tf.repeat(users[:, None], tf.shape(domains)[1], axis=1)

    def mean_loss(self, losses, blocks: DomainBlocks) -> Losses:
        """What a batch costs by the losses of its targets, `[blocks, block_size]`: their mean."""
        return mean_over_targets(losses, blocks)
