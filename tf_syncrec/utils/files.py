"""Weights as files."""

from pathlib import Path

import keras

from data_prep.files import written_whole
from tf_syncrec.utils import variables as large

_WEIGHTS = "weights"


def save_weights_whole(model: keras.Model, file: Path) -> None:
    """Writes weights whole or not at all; another name (link) of the old file keeps its content."""
    with written_whole(file) as new:
        large.save(new, {_WEIGHTS: model.weights})


def load_weights(model: keras.Model, file: Path) -> None:
    """Gives a model the weights of `save_weights_whole`, or of Keras's own `save_weights`.

    Raises:
        ValueError: they are of another model, or the file is damaged.
    """
    if large.holds(file, _WEIGHTS):
        large.load(file, {_WEIGHTS: model.weights})
    else:
        model.load_weights(file)
