"""Memory that is freed is kept for the next tensors where several replicas train on CPUs."""

import ctypes

import keras

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of `mallopt` (malloc.h)."""

LARGEST = 2**26
"""Bytes: what is larger comes from the system, and goes back to it, each time."""

KEPT = 2**30
"""Bytes, the most freed memory that stays with the process where nothing above it is in use."""


class KeepFreedMemory(keras.callbacks.Callback):
    """Lets glibc reuse freed memory where TensorFlow has it given back at once.

    Whenever TensorFlow (2.21) makes a `GeneratorDataset`, and the iterators of a distribution
    strategy have one, it sets glibc's threshold for memory maps to 128 KiB, to save Python memory.
    All larger tensors, which are most of a step, are then mapped, filled with zeros page by page
    and unmapped again each time: half of the time of a step on CPUs. It can go when TensorFlow
    leaves the threshold alone. Does nothing where the C library is not glibc.
    """

    def on_train_begin(self, logs=None):
        """`fit` makes an iterator."""
        self._kept = False

    def on_train_batch_end(self, batch, logs=None):
        """By now it is made."""
        if self._kept:
            return
        self._kept = True
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt:
            # Older versions of glibc refuse more than 32 MiB.
            if not mallopt(M_MMAP_THRESHOLD, LARGEST):
                mallopt(M_MMAP_THRESHOLD, LARGEST // 2)
            mallopt(M_TRIM_THRESHOLD, KEPT)
