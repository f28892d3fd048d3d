"""Files that are there whole or not at all."""

from pathlib import Path

import keras


def write_whole(file: Path, text: str) -> None:
    """Writes a text file aside and renames it in, so that nobody meets half of it."""
    partial = file.with_name(file.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def save_weights_whole(model: keras.Model, file: Path) -> None:
    """Writes `*.weights.h5`, likewise; another name (link) of the old file keeps its content."""
    partial = file.with_name(f".partial.{file.name}")  # Keras wants the end of the name
    partial.unlink(missing_ok=True)  # left by a kill, or a link to what must stay as it is
    model.save_weights(partial, overwrite=True)
    partial.replace(file)
