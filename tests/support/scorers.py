"""A scorer whose scores are known."""

import tensorflow as tf

from tf_syncrec.evaluation.full_ranking import VectorScorer


class FixedScorer(VectorScorer):
    """Scores from given vectors: one a domain as the query, one an item as the candidate."""

    def __init__(self, queries, candidates):
        super().__init__(tf.constant(candidates, tf.float32))
        self._queries = tf.constant(queries, tf.float32)

    def queries(self, batch):
        return tf.gather(self._queries, batch["domain"])
