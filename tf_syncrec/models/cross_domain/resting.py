"""Tables of what a graph says of everybody, made once while nothing is trained."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf


class RestingTables:
    """Says of tables whether they are to be made, in functions traced before and after.

    They are no weights: they are never saved, and there is nothing in them while a network trains.

    Args:
        shapes: that of a row of each table.
    """

    def __init__(self, *shapes: Sequence[int]):
        self._nothing = [tf.zeros([0, *shape]) for shape in shapes]
        self._at_rest = tf.Variable(False, trainable=False)
        self._kept = [
            tf.Variable(table, trainable=False, shape=[None, *table.shape[1:]])
            for table in self._nothing
        ]

    @contextlib.contextmanager
    def made_once(self, make: Callable[[], Sequence[tf.Tensor]]) -> Iterator[None]:
        """Inside, tables are those that are made now.

        Args:
            make: returns all tables, `[rows, ...]` float32 each.
        """
        if bool(self._at_rest):
            yield
            return
        for kept, table in zip(self._kept, make(), strict=True):
            kept.assign(table)
        self._at_rest.assign(True)
        try:
            yield
        finally:
            self._at_rest.assign(False)
            for kept, nothing in zip(self._kept, self._nothing, strict=True):
                kept.assign(nothing)

    def read(self, use: Callable, make: Callable[[], Sequence[tf.Tensor]]):
        """What is made of the tables, at rest or anew.

        Args:
            use: from all tables, tensors or variables, to tensors.
            make: as in `made_once`.
        """
        # Not in Python: whoever traced it while training asks at rest, and the other way round.
        return tf.cond(self._at_rest, lambda: use(self._kept), lambda: use(make()))

    def tables(self, make: Callable[[], Sequence[tf.Tensor]]) -> list[tf.Tensor]:
        """All of them, at rest or anew; `make` as in `made_once`."""
        return self.read(lambda tables: [tf.convert_to_tensor(table) for table in tables], make)
