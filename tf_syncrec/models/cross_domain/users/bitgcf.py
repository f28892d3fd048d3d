"""BiTGCF: graphs of the domains, and transfer between them at each layer (CIKM 2020)."""

import contextlib

import keras
import tensorflow as tf

from tf_syncrec.layers import Dropout, group_by_domain, item_domains
from tf_syncrec.models.cross_domain.resting import RestingTables
from tf_syncrec.models.cross_domain.users.by_domain import UsersByDomain
from tf_syncrec.models.cross_domain.users.graph import InteractionGraph, pairs_of
from tf_syncrec.models.cross_domain.users.transfer import common_vectors, transferred
from tf_syncrec.utils.variables import fill


@keras.saving.register_keras_serializable("tf_syncrec")
class BiTGCF(UsersByDomain):
    """Graph collaborative filtering in each domain; users carry features between domains.

    A is the adjacency of a domain's users and items by the training, `1 / sqrt(n_u n_i)` for each
    pair. A layer makes of all vectors of a domain, E, users and items, ::

        E <- E + A E + (A E) * E                          feature propagation
        u_d <- (λ u_d + (1 - λ) u_other + u_common) / 2   feature transfer

    with u_common the mean of the user's domains, weighted by their numbers of items. Of each layer
    vectors have length 1; those of all layers, and the ones before them, are put one after the
    other, so that queries and candidates have width `(L + 1) r`.

    The paper has two domains. With more, "other" is the mean of the others that the user has had
    items in. A user of one domain is transferred nothing. Where a user has had no item, of which
    the paper does not speak, they have u_common, from the beginning on. Loss and negatives are
    everybody's; dropout is on what a layer makes. In a training that goes on, all answers follow
    the pairs of the new one.

    Each step of a training propagates all users and items, whatever the batch: with two layers of
    width 64 some 3 s of one core for a million pairs, so that large batches are cheaper, and
    `(L + 1) r` numbers for each item, and for each user and domain, several times over.
    On a GPU TensorFlow multiplies sparse matrices of no more than 2^31 / r pairs; not tried there.
    While nothing is trained (`at_rest`) all vectors are made once; what is served (`plain`) has
    them as tables and knows no graph.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        user_ids: as in `BPRMF`.
        pairs: of `graph.pairs_of`; or how many there are, of a network that is to be loaded.
        blocks: L, layers.
        own_share: λ.
        kwargs: as in `MultiDomainModel`.

    References:
        - [Cross Domain Recommendation via Bi-directional Transfer Graph Collaborative Filtering
          Networks](https://doi.org/10.1145/3340531.3412012), CIKM 2020, section 3.
        - [RecBole-CDR](https://github.com/RUCAIBox/RecBole-CDR), for λ and the length 1.
    """

    def __init__(self, domain_sizes, user_ids, *, pairs=0, blocks=2, own_share=0.8, **kwargs):
        super().__init__(domain_sizes, user_ids, **kwargs)
        self.blocks, self.own_share = blocks, own_share
        count = pairs if isinstance(pairs, int) else len(pairs)
        self.graph = InteractionGraph(len(user_ids) + 1, self.domain_sizes, count)
        self.graph.build()
        if not isinstance(pairs, int):
            fill(self.graph.pairs, pairs)
        # In float32, as all of the propagation.
        self.feature_dropout = Dropout(self.dropout_rate, dtype="float32")
        width = (1 + blocks) * self.dim
        self._resting = RestingTables([self.num_domains, width], [width])

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "pairs": self.graph.num_pairs,
            "blocks": self.blocks,
            "own_share": self.own_share,
        }

    @classmethod
    def arguments_from(cls, prepared):
        """As in `MultiDomainModel`: the users of the training set, and what they have had."""
        users, pairs = pairs_of(prepared)
        return {"user_ids": users, "pairs": pairs}

    @property
    def learned(self):
        """As in `MultiDomainModel`; the graph is given."""
        return [weight for weight in super().learned if weight is not self.graph.pairs]

    def propagated(self, training=None):
        """What all users and items are, by all layers.

        Args:
            training: whether dropout is on.

        Returns:
            `[users + 1, domains, width]` and `[items + 1, width]`, float32.
        """
        adjacency, counts = self.graph.adjacency(), self.graph.counts()
        shape = [self.graph.num_users, self.num_domains, self.dim]
        users = tf.reshape(tf.convert_to_tensor(self.users.embeddings.value), shape)
        users = tf.where((counts > 0)[..., None], users, common_vectors(users, counts))
        items = self.embedding.every_item(training)
        of_layers = [(users, items)]
        for _ in range(self.blocks):
            flat = tf.reshape(users, [-1, self.dim])
            near_users = tf.sparse.sparse_dense_matmul(adjacency, items)
            near_items = tf.sparse.sparse_dense_matmul(adjacency, flat, adjoint_a=True)
            users = self._layer(users, tf.reshape(near_users, shape), training)
            items = self._layer(items, near_items, training)
            users = transferred(users, counts, self.own_share)
            of_layers.append(
                (tf.math.l2_normalize(users, axis=-1), tf.math.l2_normalize(items, axis=-1))
            )
        every_user, every_item = zip(*of_layers, strict=True)
        return tf.concat(every_user, axis=-1), tf.concat(every_item, axis=-1)

    def _layer(self, vectors, near, training):
        return self.feature_dropout(vectors + near + near * vectors, training=training)

    def batch_losses(self, items, segments=None, training=True, timestamps=None, user_id=None):
        """As in `BPRMF`; all is propagated once."""
        domains = item_domains(items, self.offsets)
        blocks = group_by_domain(domains, self.num_domains)
        users, every_item = self.propagated(training=training)
        y = tf.gather(users, self._lookup.lookup(user_id))
        y = tf.gather(y, tf.maximum(domains, 0), batch_dims=1)
        (losses,) = self.target_losses(
            [blocks.gather(y)],
            blocks.gather(items),
            blocks,
            lambda ids, of_batch=True: tf.gather(every_item, ids),
        )
        return self.mean_loss(losses, blocks)

    # ------------------------------------------------------------------------------ prediction

    @contextlib.contextmanager
    def at_rest(self):
        """As in `MultiDomainModel`; all is propagated once."""
        with super().at_rest(), contextlib.ExitStack() as resting:
            if self.blocks:
                resting.enter_context(self._resting.made_once(self.propagated))
            yield

    def evaluate(self, *args, **kwargs):
        """As in `MultiDomainModel`; nothing is trained meanwhile."""
        with self.at_rest():
            return super().evaluate(*args, **kwargs)

    def of_domains(self, rows):
        """As in `UsersByDomain`, `[batch, domains, width]`."""
        if not self.blocks:
            return self.own_vectors(rows)
        return self._rows_of(0, rows)

    def item_vectors(self, items, of_batch=True):
        """As in `MultiDomainModel`, `[..., width]`."""
        if not self.blocks:
            return super().item_vectors(items, of_batch)
        return self._rows_of(1, items)

    def _rows_of(self, side, rows):
        """Of users, 0, or of items, 1: as they rest, or propagated now."""
        return self._resting.read(lambda tables: tf.gather(tables[side], rows), self.propagated)

    @property
    def tables_in_place(self) -> bool:
        """As in `MultiDomainModel`."""
        return not self.blocks and super().tables_in_place

    def item_tables(self):
        """As in `MultiDomainModel`, of width `(L + 1) r`."""
        return [self._tables()[1]] if self.blocks else super().item_tables()

    def _tables(self):
        return self._resting.tables(self.propagated)

    def plain(self):
        """As in `MultiDomainModel`: without layers, with what they have made as its tables."""
        if not self.blocks:
            return super().plain()
        users, items = self._tables()
        inside = {"attributes": None, "own_dropout": 0.0, "pairs": 0, "blocks": 0}
        found = self.rebuilt(
            inside | {"dim": items.shape[1]},
            lambda model: (model.users, model.embedding, model.graph),
        )
        fill(found.users.embeddings, tf.reshape(users, [users.shape[0], -1]))
        fill(found.embedding.items, items)
        return found
