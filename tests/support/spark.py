"""A Spark of this machine for the tests that need one, or why there is none."""

import contextlib
import importlib.util

import pytest

from data_prep.engines.spark import connect, java_found


@contextlib.contextmanager
def local_spark():
    """One session; whatever connects to Spark meanwhile joins it."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("pyspark is not installed (make spark)")
    if not java_found():
        pytest.skip("there is no Java runtime")
    with connect("local[2]") as engine:
        yield engine
