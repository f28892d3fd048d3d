"""Times as vectors that are added to the embedded slots of a view."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_syncrec.layers.times.moments import CODES, INPUTS


@keras.saving.register_keras_serializable("tf_syncrec")
class TimeEmbedding(keras.layers.Layer):
    """What a slot knows of when its event was, and of when the one is that it predicts.

    A vector for each bucket of the gap to the event before, for each hour of the day and each day
    of the week; one table for a slot's own event, another one for the event to come. Both are in
    the slot from the beginning, so that attention can look for what was done at this hour. All
    vectors begin as 0, and what is not told stays 0: a network that is told nothing of times is one
    that has no such layer.

    Args:
        inputs: which of `moments.INPUTS`.
        dim: r, the width.

    ```python
    embedding = TimeEmbedding(["gap", "hour"], dim=8)
    at_nine = tf.constant([[[[1, 10, 0], [2, 10, 0]]]])  # first event, the next one at once
    embedding(at_nine)  # (1, 1, 8)
    ```
    """

    def __init__(self, inputs: Sequence[str], dim: int, **kwargs):
        super().__init__(**kwargs)
        if not inputs or (unknown := [name for name in inputs if name not in CODES]):
            raise ValueError(
                f"time inputs must be some of {', '.join(INPUTS)}. Received: "
                f"{unknown[0] if inputs else inputs!r}"
            )
        self.inputs = tuple(name for name in INPUTS if name in inputs)
        self.dim = dim

    def build(self, input_shape=None):
        """Creates a table `[2, codes - 1, dim]` of each input: own events, events to come."""
        self.tables = [
            self.add_weight(shape=(2, CODES[name] - 1, self.dim), initializer="zeros", name=name)
            for name in self.inputs
        ]
        self.built = True

    def call(self, when):
        """Embeds what slots are told.

        Args:
            when: `[batch, slots, 2, 3]` int32, of `moments.codes`.

        Returns:
            `[batch, slots, dim]`.
        """
        parts = []
        for name, table in zip(self.inputs, self.tables, strict=True):
            # The row of what is not told is 0, and learns nothing.
            rows = tf.pad(tf.convert_to_tensor(table), [[0, 0], [1, 0], [0, 0]])
            of_input = when[..., INPUTS.index(name)]
            parts += [tf.gather(rows[which], of_input[..., which]) for which in range(2)]
        return tf.add_n(parts)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.dim)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {"inputs": list(self.inputs), "dim": self.dim}
