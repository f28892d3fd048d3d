"""How long a training waits for its input."""

import tensorflow as tf

from tf_syncrec.data.batches import without_autotuning


class InputWait:
    """Measures, inside of `tf.data`, how long each batch was waited for.

    Keras asks for the next batch inside of the compiled step, where no callback can look.
    """

    def __init__(self):
        with tf.device("CPU"):
            self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def seconds(self) -> float:
        """All waiting so far."""
        return float(self._seconds)

    def watch(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The same batches, timed; nothing may be prefetched behind it."""

        def note(asked, batch):
            waited = self._seconds.assign_add(tf.timestamp() - asked)
            with tf.control_dependencies([waited]):
                return tf.nest.map_structure(tf.identity, batch)

        # A zipped row asks for its first part, the time, and only then for the batch.
        asked = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
        timed = tf.data.Dataset.zip(asked, batches).map(note)
        return timed.with_options(without_autotuning())
