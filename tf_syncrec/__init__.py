"""SyNCRec: cooperative single- and cross-domain sequential recommendation (SIGIR 2024)."""

import os

# TensorFlow Recommenders reads `tf.keras` when it is imported and works only if that is Keras 2;
# TensorFlow resolves the name on first use, so this has to be said before anything imports it.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
# Start-up lines about CUDA and oneDNN that a user cannot act on; set to 0 to see them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
