"""Turns TFDS's progress bars on and off for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils


@contextlib.contextmanager
def progress_bars(enable: bool) -> Iterator[None]:
    """Shows or hides TFDS's bars inside the block.

    Args:
      enable: whether to show them.

    Yields:
      Nothing.
    """
    before = getattr(tqdm_utils, "_active", True)  # TFDS has a setter and no getter.
    tfds.display_progress_bar(enable)
    try:
        yield
    finally:
        tfds.display_progress_bar(before)
