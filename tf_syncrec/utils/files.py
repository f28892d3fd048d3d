"""Weights as files."""

from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.files import written_whole

if TYPE_CHECKING:  # so that a run directory can be looked at before TensorFlow is there
    import keras

_WEIGHTS = "weights"


def save_weights_whole(model: "keras.Model", file: Path) -> None:
    """Writes weights whole or not at all; another name (link) of the old file keeps its content."""
    from tf_syncrec.utils import variables as large

    with written_whole(file) as new:
        large.save(new, {_WEIGHTS: model.weights})


def load_weights(model: "keras.Model", file: Path) -> None:
    """Gives a model the weights of `save_weights_whole`, or of Keras's own `save_weights`.

    Raises:
        ValueError: they are of another model, or the file is damaged.
    """
    from tf_syncrec.utils import variables as large

    if large.holds(file, _WEIGHTS):
        large.load(file, {_WEIGHTS: model.weights})
    else:
        model.load_weights(file)
