"""SyNCRec: cooperative single- and cross-domain sequential recommendation (SIGIR 2024)."""

import contextlib
import os
import sys

# TensorFlow Recommenders reads `tf.keras` when it is imported and works only if that is Keras 2;
# TensorFlow resolves the name on first use, so this has to be said before anything imports it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

__version__ = "0.2.0"


@contextlib.contextmanager
def _no_native_log():
    """Keeps what C++ writes to stderr away; Python's exceptions pass as ever."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# Lines about CUDA and oneDNN that a user cannot act on. TensorFlow 2.21 prints them while it is
# loaded, before it has read this variable; set it to 0 to see everything.
if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0" and "tensorflow" not in sys.modules:
    with _no_native_log():
        import tensorflow  # noqa: F401
