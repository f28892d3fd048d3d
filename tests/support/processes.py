"""Scripts in processes of their own, since TensorFlow fixes its devices once."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TWO_REPLICAS = """
import json

import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import tf_syncrec.losses.negatives as negatives


def first_items(domains, count, offsets, sizes, seed):
    size = tf.gather(sizes, domains)[..., None]
    return tf.gather(offsets, domains)[..., None] + tf.range(count) % size


negatives.sample_in_domain = first_items
"""
"""Beginning of a script: two devices, and negatives without chance, the first items of a domain."""


def last_line(script: str) -> Any:
    """What the last line that a Python script prints says as JSON; it sees no GPU."""
    return last_lines(script, [])[0]


def last_lines(script: str, *arguments: list[str]) -> list[Any]:
    """The same of a script that runs several times at once, with other arguments each time."""
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", script, *some],
            cwd=root,
            env=os.environ | {"PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for some in arguments
    ]
    try:
        told = [run.communicate(timeout=300) for run in runs]
    finally:
        for run in runs:
            run.kill()
    for run, (_, errors) in zip(runs, told, strict=True):
        assert run.returncode == 0, errors[-3000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in told]


def free_addresses(count: int) -> list[str]:
    """`localhost:port` of as many ports that nobody listens on."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{listening.getsockname()[1]}" for listening in sockets]
    for listening in sockets:
        listening.close()
    return addresses
