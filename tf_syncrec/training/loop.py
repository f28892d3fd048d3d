"""The training script that every model shares: epochs, selection on validation, early stopping."""

import re
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_syncrec.config import Config, TrainConfig
from tf_syncrec.data.batches import Sequences, train_batches
from tf_syncrec.distributed.replicas import shared_out
from tf_syncrec.distributed.workers import from_chief, is_chief, take_from_chief
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.callbacks import BestWeights, EpochReport, FiniteLoss, Follower, StepBar
from tf_syncrec.training.optimizers import FromStep, optimizer_of, state_of
from tf_syncrec.training.progress import Progress
from tf_syncrec.training.tensorboard.dashboard import Dashboard, hyperparameters
from tf_syncrec.training.tensorboard.input_wait import InputWait
from tf_syncrec.utils.hdf5 import load_weights
from tf_syncrec.utils.memory import KeepFreedMemory
from tf_syncrec.utils.variables import fill


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
    """`epochs`, or as many as make `min_steps` steps; `init_epochs` where another run goes on."""
    if config.init_from:
        return config.init_epochs
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
    config: Config,
    prepared: Sequences,
    validation: tf.data.Dataset,
    checkpoint_file: Path,
    log_dir: Path,
    report: Callable[[str], None],
    backup: Backup | None = None,
    profile: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    moments: Sequence[np.ndarray] | None = None,
    optimizer_file: Path | None = None,
) -> Trained:
    """Trains; leaves the model with the weights of the epoch that was best on validation.

    Of several workers, the chief alone ranks, writes and has those weights; all return the same.

    Args:
        model: not compiled.
        config: the run's; `train` says how long, and at what rate.
        prepared: what is trained on.
        validation: from `data.batches.evaluation_batches`.
        checkpoint_file: where the best weights are kept, in an existing directory.
        log_dir: for TensorBoard.
        report: told one line an epoch.
        backup: keeps the training on disk, and goes on from what it finds there; None where a
            training that is interrupted begins again.
        profile: whether to trace some steps for TensorBoard's profiler.
        callbacks: further ones of Keras; their logs have `val_ndcg@10` and the like.
        moments: of `initial.moments`, which the optimizer of the chief begins with.
        optimizer_file: where what it has with the best weights is kept; None: nowhere.

    Raises:
        FloatingPointError: the loss is no longer a number.
        Stopped: the backup was asked to stop, or cannot write.
    """
    batches = train_batches(
        prepared,
        model.window,
        config.train.batch_size,
        config.train.seed,
        model.batch_layout,
        config.train.windows,
        bool(model.time_inputs),
    )
    planned, strategy = planned_epochs(config.train, batches.steps), model.distribute_strategy
    alone = strategy.num_replicas_in_sync == 1
    progress = Progress()
    with strategy.scope():
        rate = learning_rate(config.train, batches.steps)
        model.compile(
            optimizer_of(config.train.optimizer, rate),
            skip_nan=config.train.on_nan == "skip",
        )
    if config.train.init_from:
        _begin_with(model, moments, progress)
    if backup:
        backup.restore(model, progress, batches.steps)
    if progress.steps_before and not isinstance(rate, float):
        model.optimizer.learning_rate = FromStep(rate, progress.steps_before)
    # On several replicas the batches go through more than `tf.data`.
    wait = InputWait() if alone else None
    finite = FiniteLoss(batches, progress, backup)
    dashboard = None
    own: list[keras.callbacks.Callback] = [Follower(progress, config.train, planned), finite]
    if is_chief(strategy):
        dashboard = Dashboard(
            log_dir, prepared.catalogue, progress, hyperparameters(config, model), wait, profile
        )
        own = [
            StepBar(progress, batches.steps, planned),
            EpochReport(validation, prepared.catalogue, progress, config.train, planned, report),
            dashboard,
            finite,
            BestWeights(checkpoint_file, progress, optimizer_file),
        ]
    own += callbacks
    if backup:
        own.append(backup)
    if not alone:
        own.append(KeepFreedMemory())
    # One call for all epochs; one more for the rest of an epoch that was interrupted.
    while not progress.ended(config.train, planned):
        last = progress.epoch + 1 if progress.step else planned
        dataset = batches.epochs(range(progress.epoch, last), progress.step)
        model.fit(
            wait.watch(dataset) if wait else shared_out(dataset, strategy),
            steps_per_epoch=batches.steps - progress.step,
            initial_epoch=progress.epoch,
            epochs=last,
            verbose=0,
            callbacks=own,
        )
        if model.stop_training:
            break
    if backup:
        backup.end()
    if dashboard:
        dashboard.close()
        load_weights(model, checkpoint_file)
    return Trained(progress.history, progress.best)


def _begin_with(
    model: MultiDomainModel, moments: Sequence[np.ndarray] | None, progress: Progress
) -> None:
    """Gives the optimizer of all workers the moments that the chief has of an earlier run."""
    strategy, optimizer = model.distribute_strategy, model.optimizer
    if moments:
        for variable, values in zip(state_of(optimizer), moments, strict=True):
            fill(variable, values)
    take_from_chief(strategy, optimizer.variables)
    progress.steps_before = from_chief(strategy, int(optimizer.iterations.numpy()))
