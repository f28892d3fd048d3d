"""The training script that every model shares: epochs, selection on validation, early stopping."""

import re
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.callbacks import MONITOR, EpochReport
from tf_syncrec.config import TrainConfig
from tf_syncrec.metrics import SELECTION_METRIC
from tf_syncrec.multi_domain import MultiDomainModel


class Trained(NamedTuple):
    """What a training was.

    Attributes:
        history: one dict an epoch, as in `history.json`.
        best: index of the epoch with the best validation metric.
    """

    history: list[dict[str, Any]]
    best: int

    def cost(self, model: MultiDomainModel) -> dict[str, Any]:
        """Epochs, seconds, MiB and parameters, for the record."""
        return {
            "epochs": len(self.history),
            "best_epoch": self.best + 1,
            "seconds_per_epoch": float(np.median([epoch["seconds"] for epoch in self.history])),
            "peak_memory_mb": peak_memory_mb(),
            "parameters": model.count_trained(),
        }


def peak_memory_mb() -> float:
    """The most memory this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss includes what the parent held when it started this process
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def planned_epochs(config: TrainConfig, steps_per_epoch: int) -> int:
    """`epochs`, or as many as make `min_steps` steps."""
    return max(config.epochs, -(-config.min_steps // max(steps_per_epoch, 1)))


def learning_rate(config: TrainConfig, steps_per_epoch: int):
    """What Adam takes.

    Args:
        config: `schedule`, `learning_rate` (the highest), and how long to train.
        steps_per_epoch: batches an epoch.

    Returns:
        A number, or what gives the rate of a step.
    """
    if config.schedule == "constant":
        return config.learning_rate
    steps = planned_epochs(config, steps_per_epoch) * steps_per_epoch
    warmup = min(steps_per_epoch, max(steps // 10, 1))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(steps - warmup, 1),
        alpha=0.01,  # the last steps are not for nothing
    )


def train(
    model: MultiDomainModel,
    config: TrainConfig,
    batches: tf.data.Dataset,
    validation: tf.data.Dataset,
    catalogue: Catalogue,
    checkpoint_file: Path,
    log_dir: Path,
    report: Callable[[str], None] | None = None,
) -> Trained:
    """Trains; leaves the model with the weights of the epoch that was best on validation.

    Args:
        model: not compiled.
        config: how long, and at what rate.
        batches: from `data.train_batches`.
        validation: from `data.evaluation_batches`.
        catalogue: items and domains.
        checkpoint_file: where the best weights are kept, in an existing directory.
        log_dir: for TensorBoard.
        report: told one line an epoch in place of Keras's own progress.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    steps_per_epoch = int(batches.cardinality())
    model.compile(keras.optimizers.Adam(learning_rate(config, steps_per_epoch)))
    epochs = EpochReport(validation, catalogue, log_dir, report)
    callbacks = [
        epochs,
        keras.callbacks.ModelCheckpoint(
            checkpoint_file,
            monitor=MONITOR,
            mode="max",
            save_best_only=True,
            save_weights_only=True,
        ),
        keras.callbacks.TerminateOnNaN(),
    ]
    if config.schedule == "constant":
        callbacks.append(
            keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=config.patience)
        )
    model.fit(
        batches,
        epochs=planned_epochs(config, steps_per_epoch),
        shuffle=False,  # the pipeline does it
        verbose=0 if report else 1 if sys.stdout.isatty() else 2,
        callbacks=callbacks,
    )
    model.load_weights(checkpoint_file)
    best = int(np.argmax([epoch["validation"][SELECTION_METRIC] for epoch in epochs.history]))
    return Trained(epochs.history, best)
