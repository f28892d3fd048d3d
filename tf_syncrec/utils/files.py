"""Files that are there whole or not at all."""

from pathlib import Path

import keras

from tf_syncrec.utils import variables as large

_WEIGHTS = "weights"


def write_whole(file: Path, text: str) -> None:
    """Writes a text file aside and renames it in, so that nobody meets half of it."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def save_weights_whole(model: keras.Model, file: Path) -> None:
    """Writes weights, likewise; another name (link) of the old file keeps its content."""
    partial = file.with_name(f".partial.{file.name}")
    partial.unlink(missing_ok=True)  # left by a kill, or a link to what must stay as it is
    large.save(partial, {_WEIGHTS: model.weights})
    partial.replace(file)


def load_weights(model: keras.Model, file: Path) -> None:
    """Gives a model the weights of `save_weights_whole`, or of Keras's own `save_weights`.

    Raises:
        ValueError: they are of another model, or the file is damaged.
    """
    if large.holds(file, _WEIGHTS):
        large.load(file, {_WEIGHTS: model.weights})
    else:
        model.load_weights(file)
