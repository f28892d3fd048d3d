"""Memory that is freed is kept for the next tensors."""

import ctypes

import keras

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of `mallopt` (malloc.h)."""

HIGHEST = 32 * 2**20
"""Bytes, what glibc itself adjusts the threshold for maps to, as large blocks are freed."""


class KeepFreedMemory(keras.callbacks.Callback):
    """Lets glibc reuse freed memory where TensorFlow has it given back at once.

    Whenever TensorFlow (2.21) makes a `GeneratorDataset`, and the iterators of a distribution
    strategy have one, it sets glibc's threshold for memory maps to 128 KiB, to save Python memory.
    All larger tensors, which are most of a step, are then mapped, filled with zeros page by page
    and unmapped again each time: half of the time of a step on CPUs. This sets what glibc would
    have come to by itself. It can go when TensorFlow leaves the threshold alone. On other systems
    it does nothing.
    """

    def on_train_begin(self, logs=None):
        """`fit` makes an iterator."""
        self._kept = False

    def on_train_batch_end(self, batch, logs=None):
        """By now it is made."""
        if not self._kept:
            keep_freed_memory()
            self._kept = True


def keep_freed_memory() -> None:
    """Sets the thresholds of glibc; does nothing where the C library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, HIGHEST)
        mallopt(M_TRIM_THRESHOLD, 2 * HIGHEST)
