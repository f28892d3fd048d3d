"""Whether Keras is set up as this project computes: on TensorFlow, in float32."""

import json
import os
import sys
from pathlib import Path
from typing import Any


def check_keras() -> None:
    """Says in one line what is set up otherwise; Keras need not be imported for that, nor is it.

    Raises:
        ImportError: Keras has another backend, or another number format by default.
    """
    keras: Any = sys.modules.get("keras")
    if keras is not None:
        backend, number_format = keras.config.backend(), keras.config.floatx()
        backend_source = format_source = "keras.config, set earlier in this process"
    else:
        home = Path("~").expanduser()  # Keras takes another where it cannot write
        usual = (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"
        file = Path(os.environ.get("KERAS_HOME", usual)).expanduser() / "keras.json"
        try:
            settings = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # as Keras does, which then takes its defaults
            settings = {}
        backend_source = format_source = str(file)
        backend = settings.get("backend", "tensorflow")
        number_format = settings.get("floatx", "float32")
        if given := os.environ.get("KERAS_BACKEND"):
            backend, backend_source = given, f"KERAS_BACKEND={given}"
    if backend != "tensorflow":
        raise ImportError(
            f"tf_syncrec needs Keras on TensorFlow, received backend {backend!r} "
            f"({backend_source}); set KERAS_BACKEND=tensorflow before Keras is imported"
        )
    if number_format != "float32":
        raise ImportError(
            f"tf_syncrec computes in float32, received floatx {number_format!r} ({format_source}); "
            "set it to float32, and for shorter activations train.precision=mixed_bfloat16"
        )
