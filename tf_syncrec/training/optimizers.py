"""Adam whose cost for a table follows the rows that a batch has read, not those there are."""

from collections.abc import Sequence

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_syncrec")
class RowwiseAdam(keras.optimizers.Adam):
    """Adam for most weights; for tables, such as the item vectors, a form of it by rows.

    Adam moves every row of a table in every step, and keeps two numbers an element. Here a row
    moves when a batch has read it, by what Adam would have moved it because of that gradient over
    all later steps: Adam's mean of gradients (beta_1) spreads that over some ten steps. The mean of
    squared gradients decays with the steps that have passed since the row was last read, as it does
    in Adam, and is one number a row, the mean over its elements.

    Tables are the variables `[rows, dim]` whose attribute `read_by_rows` is true, as that of the
    item vectors of our models. Gradients may be slices, of which a row may have several, or dense;
    a row of zeros then is one that nobody has read.

    Args:
        learning_rate: a number, or a schedule.
        kwargs: as in `keras.optimizers.Adam`; of those, tables know beta_2, epsilon and what
            changes gradients alone.

    ```python
    embedding = SharedEmbedding(num_items=15, num_domains=2, window=3, dim=8)
    embedding.build()
    optimizer = RowwiseAdam(1e-3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(embedding.embed_items(tf.constant([3, 12])) ** 2)
    items = [embedding.items]
    optimizer.apply(tape.gradient(loss, items), items)  # moves two rows
    ```

    References:
        - [Adam](https://arxiv.org/abs/1412.6980)
        - [Adafactor](https://arxiv.org/abs/1804.04235), which keeps mean squares by rows as well.
    """

    takes_slices = True
    """Any other optimizer gets dense gradients: Keras (3.15) adds the squares of slices of a row,
    where Adam has the square of their sum."""

    def __init__(self, learning_rate=0.001, **kwargs):
        super().__init__(learning_rate, **kwargs)
        if self.amsgrad:
            raise ValueError("RowwiseAdam has no AMSGrad. Received: amsgrad=True")

    def build(self, var_list):
        """Creates `velocity` and `last_step` `[rows]` of each table, and what Adam has."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, var_list)
        # One entry a variable, as Adam's own update reads them.
        self._momentums: list[keras.Variable | None] = []
        self._velocities: list[keras.Variable] = []
        self._last_steps: dict[int, keras.Variable] = {}
        for index, variable in enumerate(var_list):
            if _is_table(variable):
                self._momentums.append(None)
                self._velocities.append(self._number_a_row(variable, "velocity"))
                self._last_steps[index] = self._number_a_row(variable, "last_step", "int64")
            else:
                for slots, name in ((self._momentums, "momentum"), (self._velocities, "velocity")):
                    slots.append(self.add_variable_from_reference(variable, name))

    def _number_a_row(self, table, name, dtype=None):
        with self._distribution_strategy.extended.colocate_vars_with(table.value):
            return self.add_variable(table.shape[:1], dtype=dtype, name=f"{table.name}_{name}")

    def apply(self, grads, trainable_variables=None):
        """One step of all variables, with a gradient or None of each."""
        variables = trainable_variables or self._trainable_variables
        added_up = [
            None if gradient is None else self._add_up(gradient, variable)
            for gradient, variable in zip(grads, variables, strict=True)
        ]
        super().apply(added_up, trainable_variables)

    def _add_up(self, gradient, variable):
        """Slices of a table, each row once if that is too late in `update_step`; else dense.

        That is before replicas add up their gradients, so that few are exchanged, and before a
        norm is taken of them.
        """
        if not _is_table(variable):
            return tf.convert_to_tensor(gradient)
        clipped = self.clipnorm or self.clipvalue or self.global_clipnorm
        if self._distribution_strategy.num_replicas_in_sync == 1 and not clipped:
            return gradient
        rows, sums = by_rows(gradient)
        return tf.IndexedSlices(sums, rows, dense_shape=tf.constant([*variable.shape], tf.int64))

    def update_step(self, gradient, variable, learning_rate):
        """One step of one variable."""
        index = self._get_variable_index(variable)
        if index not in self._last_steps:
            super().update_step(gradient, variable, learning_rate)
            return
        velocity, last_step = self._velocities[index].value, self._last_steps[index].value
        rows, gradient = by_rows(gradient)
        step = self.iterations + 1
        passed = tf.cast(tf.cast(step, tf.int64) - tf.gather(last_step, rows), gradient.dtype)
        square = tf.reduce_mean(tf.square(gradient), axis=1)
        square = self.beta_2**passed * tf.gather(velocity, rows) + (1 - self.beta_2) * square
        unbiased = square / (1 - self.beta_2 ** tf.cast(step, square.dtype))
        rate = tf.cast(learning_rate, square.dtype) / (tf.sqrt(unbiased) + self.epsilon)
        velocity.scatter_update(tf.IndexedSlices(square, rows))
        steps = tf.fill(tf.shape(rows), tf.cast(step, tf.int64))
        last_step.scatter_update(tf.IndexedSlices(steps, rows))
        variable.scatter_sub(tf.IndexedSlices(rate[:, None] * gradient, rows))


def _is_table(variable) -> bool:
    return getattr(variable, "read_by_rows", False)


def by_rows(gradient):
    """`(rows, sums)` of a gradient: each row that has one, once, and all of it, `[n, dim]`."""
    if isinstance(gradient, tf.IndexedSlices):
        rows, place = tf.unique(gradient.indices)
        return rows, tf.math.unsorted_segment_sum(gradient.values, place, tf.size(rows))
    rows = tf.where(tf.reduce_any(gradient != 0, axis=1))[:, 0]
    return rows, tf.gather(gradient, rows)


def optimizer_of(name: str, learning_rate) -> keras.optimizers.Optimizer:
    """What trains a model.

    Args:
        name: `"adam"` or `"rowwise_adam"`.
        learning_rate: a number, or a schedule.
    """
    if name == "adam":
        return keras.optimizers.Adam(learning_rate)
    return RowwiseAdam(learning_rate)


def state_of(optimizer: keras.optimizers.Optimizer) -> Sequence[keras.Variable]:
    """Steps that were made (`iterations`, the first one) and moments; not the learning rate."""
    return [each for each in optimizer.variables if each.name != "learning_rate"]


@keras.saving.register_keras_serializable("tf_syncrec")
class FromStep(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that begins at a later step, of an optimizer that goes on.

    Args:
        schedule: of the steps from then on.
        first_step: `iterations` at which it begins.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, first_step: int):
        super().__init__()
        self.schedule, self.first_step = schedule, first_step

    def __call__(self, step):
        """The rate of a step."""
        return self.schedule(step - self.first_step)

    def get_config(self):
        """What the constructor takes."""
        schedule = keras.saving.serialize_keras_object(self.schedule)
        return {"schedule": schedule, "first_step": self.first_step}

    @classmethod
    def from_config(cls, config):
        """Of `get_config`."""
        schedule = keras.saving.deserialize_keras_object(config["schedule"])
        return cls(schedule, config["first_step"])
