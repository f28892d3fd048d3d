"""What a network is told of times: by requests, by batches of training, slot by slot."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from tf_syncrec.layers import SharedEmbedding
from tf_syncrec.layers.times.moments import Times, forget, moments_of
from tf_syncrec.layers.views import View, split_views
from tf_syncrec.models.item_domains import ItemDomains


class ToldTimes(ItemDomains):
    """What `MultiDomainModel` makes of times; nothing, if it has no inputs of them."""

    reads_times: ClassVar[bool] = True
    """Whether it looks at histories, and so can be told when they were."""

    evaluation_signature: ClassVar[dict[str, tf.TensorSpec]]
    embedding: SharedEmbedding
    window: int
    time_dropout: float
    _time_seed: keras.random.SeedGenerator | None

    @property
    def time_inputs(self) -> tuple[str, ...]:
        """What it is told of times; nothing of most networks."""
        return () if self.embedding.times is None else self.embedding.times.inputs

    @property
    def asked_signature(self) -> dict[str, tf.TensorSpec]:
        """`evaluation_signature`, and times, if it is told of them."""
        times = {
            "timestamps": tf.TensorSpec([None, None], tf.float64),
            "now": tf.TensorSpec([None], tf.float64),
        }
        return self.evaluation_signature | (times if self.time_inputs else {})

    def asked_by(self, batch, timestamps=None, now=None) -> dict[str, Any]:
        """What it is asked by, of a batch of `data.batches.evaluation_batches`.

        Args:
            batch: says whose histories, and in which domains.
            timestamps: `[batch, length]`, when these were, as far as that is told.
            now: `[batch]`, likewise when they are asked for.
        """
        found = {name: batch[name] for name in self.evaluation_signature}
        if self.time_inputs:
            shape = tf.shape(batch["items"])
            told = (timestamps, shape), (now, shape[:1])
            found["timestamps"], found["now"] = (
                tf.zeros(shape, tf.float64) if times is None else times for times, shape in told
            )
        return found

    def times_in(self, inputs) -> Times | None:
        """Times of what `call` was given, if there are some and it is told of them."""
        if not self.time_inputs or "timestamps" not in inputs:
            return None
        times = tf.convert_to_tensor(inputs["timestamps"])
        now = inputs.get("now")
        return Times(times, tf.zeros(tf.shape(times)[:1], tf.float64) if now is None else now)

    def views(self, items, domains, times: Times | None = None) -> tuple[View, View]:
        """What is predicted from; arguments as of `query_vectors`."""
        moments = None
        if self.time_inputs and times is not None:
            moments = moments_of(items, *times)
        return split_views(items, domains, self.offsets, self.window, moments=moments)

    def training_views(
        self, items, segments=None, timestamps=None, training=True
    ) -> tuple[View, View]:
        """What is learned from; arguments as of `batch_losses`. Some of the times are left out."""
        moments = None
        if self.time_inputs and timestamps is not None:
            moments = moments_of(items, timestamps)
            if training:
                rows = tf.where(items > 0, tf.range(tf.shape(items)[0])[:, None], -1)
                owners = rows if segments is None else segments
                moments = forget(moments, owners, self.time_dropout, self._time_seed)
        return split_views(items, None, self.offsets, self.window, segments, moments)
