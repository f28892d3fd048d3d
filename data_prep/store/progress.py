"""Turns TFDS's progress bars off for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow_datasets as tfds
from tensorflow_datasets.core.utils import tqdm_utils


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hides TFDS's bars inside the block."""
    before = getattr(tqdm_utils, "_active", True)  # TFDS has a setter and no getter.
    tfds.display_progress_bar(False)
    try:
        yield
    finally:
        tfds.display_progress_bar(before)
