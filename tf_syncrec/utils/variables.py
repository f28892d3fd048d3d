"""Variables that may fill most of the memory: seen without a copy, filled in pieces.

TensorFlow copies a table that it updates by rows (`scatter_update`) whenever it is read as a whole,
and once more to make a numpy array of it. Here the table itself is looked at.
"""

import math
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

BYTES_AT_ONCE = 1 << 26
"""Size of a piece, 64 MiB: what a step of the training takes anyway, and large enough for memory
that is freed to go back to the system."""

Array: TypeAlias = keras.Variable | tf.Variable | np.ndarray
"""What holds numbers that can be changed."""


def in_place(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    """The value of a variable (on the first device of this process) and not a copy of it.

    Not to be kept: as long as somebody has it, an update of rows has to make the copy after all.
    """
    return _of_devices(variable)[0].read_value_no_copy()


def as_array(array: Array) -> np.ndarray:
    """The same as numpy reads it; a copy only where the variable is on another device."""
    return array if isinstance(array, np.ndarray) else np.asarray(in_place(array))


def pieces(array: Array | tf.Tensor) -> Iterator[slice | EllipsisType]:
    """Rows of what has a shape and a type, cut so that `BYTES_AT_ONCE` are held at most."""
    shape = tuple(array.shape)
    of_a_row = tf.as_dtype(array.dtype).size * math.prod(shape[1:])
    if not shape or shape[0] * of_a_row <= BYTES_AT_ONCE:
        yield ...
        return
    step = max(BYTES_AT_ONCE // of_a_row, 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def put(array: Array, piece: slice | EllipsisType, values) -> None:
    """Sets one of the `pieces` of an array."""
    if isinstance(array, np.ndarray):
        array[piece] = values
        return
    # Each by itself: workers need not do this together.
    for variable in _of_devices(array):
        if isinstance(piece, slice):
            rows = tf.range(piece.start, piece.stop)
            variable.scatter_update(tf.IndexedSlices(values, rows))
        else:
            variable.assign(values)


def fill(array: Array, source) -> None:
    """Gives an array the values of another, or of what is sliced like one, as HDF5's datasets."""
    for piece in pieces(array):
        put(array, piece, source[piece])


def all_finite(variable: keras.Variable) -> bool:
    """Whether all numbers of a variable are finite."""
    value = in_place(variable)
    return all(bool(tf.reduce_all(tf.math.is_finite(value[piece]))) for piece in pieces(value))


def _of_devices(variable: keras.Variable | tf.Variable) -> Sequence[tf.Variable]:
    """A variable as each device of this process has it."""
    found = variable.value if isinstance(variable, keras.Variable) else variable
    return found.values if isinstance(found, tf.distribute.DistributedValues) else [found]
