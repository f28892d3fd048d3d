"""What the benchmarks of training share: random sequences, settings, arithmetic, the machine."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_syncrec.config import Config, LossConfig, ModelConfig, TrainConfig
from tf_syncrec.training.loop import peak_memory_mb


class RandomSequences:
    """Users with random items, as `data.batches.train_batches` reads them.

    Items are drawn with a long tail in each domain, domains evenly.

    Args:
        users: how many.
        length: interactions of each, or the mean of a geometric distribution if `varied`.
        domain_sizes: items of each domain.
        varied: whether lengths differ, as in real logs; at least 3.
        seed: of the draw.
    """

    def __init__(self, users, length, domain_sizes, varied=False, seed=0):
        rng = np.random.default_rng(seed)
        lengths = np.full(users, length)
        if varied:
            lengths = 2 + rng.geometric(1.0 / max(length - 2, 1), users)
        sizes = np.asarray(domain_sizes)
        offsets = 1 + np.cumsum(sizes) - sizes
        domains = rng.integers(0, len(sizes), lengths.sum())
        places = (sizes[domains] * rng.random(lengths.sum()) ** 3).astype(np.int64)
        items = (offsets[domains] + places).astype(np.int32)
        self._items = tf.RaggedTensor.from_row_lengths(items, lengths)
        self._users = tf.strings.as_string(tf.range(users))

    @property
    def catalogue(self):
        """None is needed for training."""
        raise NotImplementedError

    def as_dataset(self, split):
        """Rows of `user_id, items`."""
        del split
        rows = {"user_id": self._users, "items": self._items}
        return tf.data.Dataset.from_tensor_slices(rows)


def peak_since_last_call() -> float:
    """The most memory that this process held since it was asked last, MiB (Linux; resident)."""
    peak = peak_memory_mb()
    Path("/proc/self/clear_refs").write_text("5")  # the next peak begins from here
    return peak


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Options for every size of a training step; defaults are the issue's."""
    for name, default, text in (
        ("items", 15_000, "items over all domains"),
        ("domains", 5, "domains"),
        ("experts", 5, "K"),
        ("cross_experts", 3, "j"),
        ("blocks", 2, "attention blocks an expert"),
        ("dim", 64, "r"),
        ("ff_dim", 256, "inner width of the feed-forward networks"),
        ("window", 50, "T"),
        ("batch_size", 128, "sequences a batch"),
        ("negatives", 256, "in-domain negatives"),
        ("length", 50, "interactions a user"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{text} ({default})")
    parser.add_argument("--dropout", type=float, default=0.2, help="rate (0.2)")
    parser.add_argument("--varied", action="store_true", help="lengths differ, with that mean")


def domain_sizes(options) -> list[int]:
    """Items of each domain, as even as can be."""
    return [len(part) for part in np.array_split(np.arange(options.items), options.domains)]


def config_of(options) -> Config:
    """The default model at these sizes."""
    return Config(
        model=ModelConfig(
            window=options.window,
            dim=options.dim,
            experts=options.experts,
            cross_experts=options.cross_experts,
            blocks=options.blocks,
            ff_dim=options.ff_dim,
            dropout=options.dropout,
        ),
        loss=LossConfig(negatives=options.negatives),
        train=TrainConfig(batch_size=options.batch_size),
    )


def step_flop(options) -> float:
    """Floating-point operations of the matrix products that a training step needs.

    Of full windows: experts in both views, backwards (twice the forward ones) only where a view
    trains them, towers and the scores of negatives in both views.
    """
    r, slots = options.dim, options.batch_size * options.window
    block = 2 * (4 * r * r + 2 * r * options.ff_dim) + 4 * options.window * r
    experts = options.blocks * block * options.experts
    forward, backward = 2 * experts, 2 * experts
    others = 2 * 3 * (2 * 2 * r * r + 2 * r * options.negatives)
    return float(slots * (forward + backward + others))


def in_a_process(module: str, arguments: list[str]) -> dict[str, float]:
    """What a script prints as JSON at its end, run alone, so that its memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def matrix_rate(size=1024, repetitions=20) -> float:
    """FLOP/s of float32 matrix products of this process, median."""
    a = tf.random.normal([size, size])
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        tf.matmul(a, a).numpy()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / float(np.median(times))
