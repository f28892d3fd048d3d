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
            "parameters": model.count_params(),
        }


def peak_memory_mb() -> float:
    """The most memory this process has held, MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss includes what the parent held when it started this process
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def learning_rate(config: TrainConfig, steps_per_epoch: int):
    """What Adam takes: a number, or the rate by step.

    Args:
        config: `schedule`, `learning_rate` (the highest) and `epochs`.
        steps_per_epoch: batches an epoch.
    """
    if config.schedule == "constant":
        return config.learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=steps_per_epoch,
        decay_steps=max(config.epochs - 1, 1) * steps_per_epoch,
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
    """Trains until validation stops improving; leaves the model with its best weights.

    Args:
        model: not compiled.
        config: epochs, learning rate, patience.
        batches: from `data.train_batches`.
        validation: from `data.evaluation_batches`.
        catalogue: items and domains.
        checkpoint_file: where the best weights are kept, in an existing directory.
        log_dir: for TensorBoard.
        report: told one line an epoch in place of Keras's own progress.

    Raises:
        FloatingPointError: the loss is no longer a number.
    """
    model.compile(keras.optimizers.Adam(learning_rate(config, int(batches.cardinality()))))
    epochs = EpochReport(validation, catalogue, log_dir, report)
    model.fit(
        batches,
        epochs=config.epochs,
        shuffle=False,  # the pipeline does it
        verbose=0 if report else 1 if sys.stdout.isatty() else 2,
        callbacks=[
            epochs,
            keras.callbacks.ModelCheckpoint(
                checkpoint_file,
                monitor=MONITOR,
                mode="max",
                save_best_only=True,
                save_weights_only=True,
            ),
            keras.callbacks.EarlyStopping(MONITOR, mode="max", patience=config.patience),
            keras.callbacks.TerminateOnNaN(),
        ],
    )
    model.load_weights(checkpoint_file)
    best = int(np.argmax([epoch["validation"][SELECTION_METRIC] for epoch in epochs.history]))
    return Trained(epochs.history, best)
