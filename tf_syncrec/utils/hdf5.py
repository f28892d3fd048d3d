"""Arrays and weights as HDF5 files: written from where they are, read in pieces."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import tensorflow as tf

from data_prep.files import written_whole
from tf_syncrec.utils.variables import Array, as_array, fill

_WEIGHTS = "weights"
OPTIMIZER = "optimizer"
"""Group of what an optimizer keeps."""


def save_weights_whole(model: keras.Model, file: Path) -> None:
    """Writes weights whole or not at all."""
    save_whole(file, _WEIGHTS, model.weights)


def save_whole(file: Path, group: str, arrays: Sequence[Array]) -> None:
    """Writes a file of one group of arrays whole or not at all, as `save` does."""
    with written_whole(file) as new:
        save(new, {group: arrays})


def load_weights(model: keras.Model, file: Path, later: Sequence[keras.Variable] = ()) -> None:
    """Gives a model the weights of `save_weights_whole`, or of Keras's own `save_weights`.

    Args:
        model: whose weights are replaced.
        file: where they are.
        later: weights that a file of an earlier version lacks; they then stay as they are.

    Raises:
        ValueError: they are of another model, or the file is damaged.
    """
    if holds(file, _WEIGHTS):
        weights = model.weights
        if later and not holds(file, f"{_WEIGHTS}/{len(weights) - 1}"):
            added = {id(weight) for weight in later}
            weights = [weight for weight in weights if id(weight) not in added]
        load(file, {_WEIGHTS: weights})
    else:
        model.load_weights(file)


def save(file: Path, groups: Mapping[str, Sequence[Array]]) -> None:
    """Writes arrays as an HDF5 file, `GROUP/0`, `GROUP/1` and so on.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with h5py.File(file, "w") as content:
            for group, arrays in groups.items():
                for name, array in _named(arrays):
                    content[f"{group}/{name}"] = as_array(array)
    except RuntimeError as error:  # how HDF5 says that closing the file failed
        raise OSError(str(error)) from error


def load(file: Path, groups: Mapping[str, Sequence[Array]]) -> None:
    """Fills arrays from what `save` has written of the same groups; there may be others.

    Raises:
        ValueError: the file holds other arrays, and nothing was filled; or it is damaged.
    """
    try:
        with h5py.File(file) as content:
            for group, arrays in groups.items():
                there = {name: _kind(dataset) for name, dataset in content.get(group, {}).items()}
                here = {name: _kind(array) for name, array in _named(arrays)}
                for name in {**here, **there}:
                    if there.get(name) != here.get(name):
                        raise ValueError(
                            f"{group}/{name} is {there.get(name, 'missing')}, the model has "
                            f"{here.get(name, 'none')}"
                        )
            for group, arrays in groups.items():
                for name, array in _named(arrays):
                    fill(array, content[f"{group}/{name}"])
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def holds(file: Path, group: str) -> bool:
    """Whether `save` has written such a group into a file.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        with h5py.File(file) as content:
            return group in content
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error


def _named(arrays: Sequence[Array]) -> Iterator[tuple[str, Array]]:
    return ((str(number), array) for number, array in enumerate(arrays))


def _kind(array) -> str:
    return f"{tf.as_dtype(array.dtype).name} {list(array.shape)}"
