"""Freed memory is used again, though TensorFlow would have it given back."""

import platform

import pytest

from tests.support.processes import last_lines

FAULTS = """
import json
import resource

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from tf_syncrec.utils.memory import KeepFreedMemory
from tf_syncrec.distributed.replicas import shared_out, strategy_of


class Model(keras.Model):
    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self.built = True

    def train_step(self, batch):
        return {"loss": tf.constant(0.0)}


def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        np.ones(2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


found = {}
for name, callbacks in ("without", []), ("with", [KeepFreedMemory()]):
    strategy = strategy_of("mirrored")
    with strategy.scope():
        model = Model()
        model.compile()
    batches = tf.data.Dataset.range(20).map(lambda n: {"n": n}).batch(2)
    for times in range(2):  # each `fit` makes an iterator
        model.fit(shared_out(batches, strategy), steps_per_epoch=10, verbose=0, callbacks=callbacks)
    found[name] = pages()
print(json.dumps(found | {"of": 50 * 2**21 // resource.getpagesize()}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_kept_where_a_strategy_trains():
    """50 arrays of 2 MiB, one after the other: without, each page of each comes from the kernel."""
    (found,) = last_lines(FAULTS, [])
    print(found)
    assert found["with"] < found["of"] / 20
