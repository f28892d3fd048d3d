"""The number format of a model's activations."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Models made inside compute in this format; weights, losses and λ are float32 in any case.

    Args:
        policy: `"float32"`, or `"mixed_bfloat16"` for devices that have units for it.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
