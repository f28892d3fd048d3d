"""The loss of each target against sampled items of its domain (Eq. 8-9)."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tf_syncrec.layers import DomainBlocks, Similarity
from tf_syncrec.losses.functions import EXCLUDED
from tf_syncrec.losses.negatives import UniformNegatives
from tf_syncrec.models.score_terms import ScoreTerms


class TargetLosses(ScoreTerms):
    """What a `MultiDomainModel`'s targets cost."""

    similarity: Similarity
    negatives: UniformNegatives
    target_loss: Callable
    _seed: keras.random.SeedGenerator

    def item_vectors(self, items, of_batch=True):
        """What items are, before they are compared; arguments as in `SharedEmbedding.embed_items`.

        Returns:
            `[..., any]`.
        """
        return self.embedding.embed_items(items, of_batch=of_batch)

    def target_losses(
        self, representations, targets, blocks: DomainBlocks, vectors: Callable | None = None
    ):
        """Loss of each target under each of several representations (Eq. 8-9).

        The same target meets the same negatives under all of them, so the losses can be compared.

        Args:
            representations: list of `[blocks, block_size, dim]`.
            targets: `[blocks, block_size]` int32.
            blocks: slots grouped by the domain of their target.
            vectors: what items are, called like `item_vectors`, which is what None stands for.

        Returns:
            A list of `[blocks, block_size]` float32; cells without a slot hold anything.
        """
        vectors = self.item_vectors if vectors is None else vectors
        negatives, negative_vectors = self._negatives(blocks, vectors)
        positive_vectors = self.similarity.candidate(vectors(targets))
        losses = []
        for y in representations:
            query = self.similarity.query(y)
            positive = tf.reduce_sum(query * positive_vectors, axis=-1)
            if self.negatives.shared:
                negative = tf.matmul(query, negative_vectors, transpose_b=True)
            else:
                negative = tf.einsum("bsr,bsnr->bsn", query, negative_vectors)
            losses.append(
                self.loss_of(positive, negative, negatives, targets, blocks.domains[:, None])
            )
        return losses

    def loss_of(self, positive, negative, negatives, targets, domains):
        """Loss of each target by its score and those of its negatives.

        Args:
            positive: `[rows, slots]`, scores of the targets.
            negative: `[rows, slots, n]`, those of the negatives.
            negatives: int32 ids that broadcast to the same; 0 is none, nor is the target.
            targets: `[rows, slots]` int32.
            domains: int32, that of each target; broadcasts to `[rows, slots]`.

        Returns:
            `[rows, slots]` float32.
        """
        sizes = tf.cast(tf.gather(self.trained_sizes, domains), tf.float32)
        rate = tf.minimum(self.negatives.count / tf.maximum(sizes - 1.0, 1.0), 1.0)
        no_negative = (negatives == targets[..., None]) | (negatives == 0)
        negative = tf.where(no_negative, EXCLUDED, tf.cast(negative, tf.float32))
        return self.target_loss(tf.cast(positive, tf.float32), negative, rate)

    def _negatives(self, blocks, vectors_of):
        """Ids and vectors of sampled items: one set a domain, or one set a target."""
        if self.negatives.shared:
            domains = tf.range(self.num_domains)
        else:
            domains = tf.broadcast_to(blocks.domains[:, None], tf.shape(blocks.slots))
        sizes = tf.constant(self.trained_sizes, tf.int32)
        ids = self.negatives(domains, self.offsets, sizes, self._seed)
        vectors = self.similarity.candidate(vectors_of(ids, of_batch=False))
        if self.negatives.shared:
            # (blocks, negatives): the same for all slots of a block
            return tf.gather(ids, blocks.domains)[:, None], tf.gather(vectors, blocks.domains)
        return ids, vectors  # (blocks, block_size, negatives)
