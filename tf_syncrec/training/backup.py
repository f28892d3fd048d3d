"""Keeps a training on disk, so that it goes on after whatever ended it, to the same end."""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from data_prep import InputError
from data_prep.files import written_whole
from tf_syncrec.distributed.workers import from_chief, is_chief, sum_over_workers, take_from_chief
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.checkpoints import Checkpoints
from tf_syncrec.training.progress import Progress
from tf_syncrec.utils import hdf5
from tf_syncrec.utils.stopping import StopRequests
from tf_syncrec.utils.variables import Array, all_finite

_STATE = "state.json"
_VARIABLES = "variables.h5"


class Backup(keras.callbacks.Callback):
    """Saves a checkpoint at the end of each epoch, every so many steps, and at SIGTERM.

    A checkpoint has all that a training goes on from: weights, λ, optimizer, the state of every
    random number generator, the metrics of a half epoch, the position in the data (the order is a
    function of seed and epoch), the history, from which early stopping follows, and the best
    weights so far. Must stand after the callbacks that end an epoch.

    Every worker has one, and calls it at the same steps, but files are the chief's alone: the
    others take from it what a checkpoint had, and any of them may be asked to stop.

    Args:
        directory: of the checkpoints.
        best_file: where the best weights are.
        identity: what a training depends on, as JSON; one that differs cannot go on.
        every: steps between checkpoints; 0 for none but at the end of an epoch.
        minutes: between checkpoints, likewise.
        stop: asked between two steps.
        report: told what is used.
        going_on: called where a checkpoint was taken over, before files of the run are changed.
        optimizer_file: where the optimizer of the best weights is; None where it is not kept.
    """

    def __init__(
        self,
        directory: Path,
        best_file: Path,
        identity: dict[str, Any],
        every: int,
        stop: StopRequests,
        report: Callable[[str], None],
        minutes: float = 0.0,
        going_on: Callable[[], None] = lambda: None,
        optimizer_file: Path | None = None,
    ):
        super().__init__()
        self.checkpoints = Checkpoints(directory, report)
        self._best_files = [best_file, *([optimizer_file] if optimizer_file else [])]
        self._identity = identity
        self._every = every
        self._minutes = minutes
        self._stop = stop
        self._report = report
        self._going_on = going_on
        self._half_epoch: list | None = None
        self._saved_at = time.monotonic()

    def restore(self, model: MultiDomainModel, progress: Progress, steps: int) -> None:
        """Takes the training up where the newest checkpoint left it, if there is one.

        Args:
            model: compiled; changed.
            progress: changed.
            steps: batches an epoch.

        Raises:
            InputError: no checkpoint is whole, or the newest is of another training.
        """
        self._progress, self._steps = progress, steps
        self._strategy = model.distribute_strategy
        self._chief = is_chief(self._strategy)
        path = self.checkpoints.newest() if self._chief else None
        found = from_chief(self._strategy, self._read(path, model) if path else None)
        if found is None:
            return
        state, self._half_epoch = found
        progress.restore(state)
        take_from_chief(self._strategy, [*model.variables, *model.optimizer.variables])
        self._report(
            f"Resuming from {path}: {progress.epoch} epochs and {progress.step} of {steps} steps "
            "are done."
        )

    def _read(self, path: Path, model: MultiDomainModel) -> tuple[dict, list | None]:
        """Takes weights and best weights of a checkpoint, and returns progress and metrics."""
        state = json.loads((path / _STATE).read_text())
        for name in {**self._identity, **state["identity"]}:
            there, here = state["identity"].get(name), self._identity.get(name)
            if there != here:
                raise InputError(
                    f"--resume: checkpoint {path} was trained with {name} = {there!r}, the "
                    f"configuration says {here!r}; it cannot be resumed, and nothing was changed"
                )
        # New ones: the chief alone cannot read those of the model.
        metrics = [np.zeros(x.shape, x.dtype) for x in model.metrics_variables]
        try:
            hdf5.load(path / _VARIABLES, _groups(model, metrics))
        except ValueError as error:
            raise InputError(
                f"--resume: checkpoint {path} does not fit the model of this version, and nothing "
                f"was changed: {' '.join(str(error).split())[:300]}"
            ) from error
        self._going_on()
        for file in self._best_files:
            if (path / file.name).exists():
                with written_whole(file) as new:
                    _link(path / file.name, new)
            else:
                file.unlink(missing_ok=True)  # of an epoch that will be trained again
        half = state["progress"]["step"] > 0
        return state["progress"], [metric.tolist() for metric in metrics] if half else None

    @property
    def last_good(self) -> Path | None:
        """The newest checkpoint."""
        return next(iter(self.checkpoints.all()), None)

    def on_train_begin(self, logs=None):
        """From here on a signal waits for the end of a step."""
        self._stop.waiting = True
        self._saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Metrics of a half epoch go on as well; Keras has just reset them."""
        if self._half_epoch is not None:
            for variable, value in zip(self.model.metrics_variables, self._half_epoch, strict=True):
                variable.assign(np.array(value, variable.dtype))  # TensorFlow shares it out
            self._half_epoch = None

    def on_train_batch_end(self, batch, logs=None):
        """Saves within an epoch."""
        step = self._progress.step
        if step == self._steps:
            return  # the end of the epoch follows
        asked, due = self._of_any_worker()
        if asked or due or (self._every and step % self._every == 0):
            self._save()
        if asked:
            raise self._stop.stopped()

    def on_epoch_end(self, epoch, logs=None):
        """Saves with the epoch in the history, and with whether a callback ended the training."""
        self._progress.stopped |= self.model.stop_training
        self._save()
        if self._of_any_worker()[0]:
            raise self._stop.stopped()

    def end(self) -> None:
        """After the last epoch: nothing is lost any more by stopping at once.

        Not between two epochs, where other workers would wait for one that stops alone.
        """
        self._stop.waiting = False

    def _of_any_worker(self) -> list[bool]:
        """Whether any worker is asked to stop, and whether time for a checkpoint has come."""
        due = self._minutes > 0 and time.monotonic() - self._saved_at >= 60 * self._minutes
        own = [self._stop.asked is not None, due and self._chief]
        return (sum_over_workers(self._strategy, np.array(own, np.float32)) > 0).tolist()

    def _save(self) -> None:
        for variable in self.model.trainable_variables:
            if not all_finite(variable):
                raise FloatingPointError(
                    f"{variable.path} has values that are no numbers, so the checkpoint is not "
                    f"written; the last good one: {self.last_good or 'none'}; try a smaller --set "
                    "train.learning_rate, or --on_nan skip"
                )
        # Each worker holds its part of a metric; this is the sum, which all have to ask for.
        metrics = [np.array(variable.numpy()) for variable in self.model.metrics_variables]
        if self._chief:
            self.checkpoints.save(
                self._progress.epoch * self._steps + self._progress.step,
                lambda directory: self._write(directory, metrics),
            )
        self._saved_at = time.monotonic()

    def _write(self, directory: Path, metrics: list[np.ndarray]) -> None:
        hdf5.save(directory / _VARIABLES, _groups(self.model, metrics))
        state = {"identity": self._identity, "progress": self._progress.to_json()}
        (directory / _STATE).write_text(json.dumps(state, allow_nan=False))
        for file in self._best_files:
            if file.exists():
                _link(file, directory / file.name)


def _groups(model: MultiDomainModel, metrics: Sequence[np.ndarray]) -> dict[str, Sequence[Array]]:
    """All variables of a training, by position.

    Args:
        model: compiled.
        metrics: values of its metrics.
    """
    return {"model": model.variables, "optimizer": model.optimizer.variables, "metrics": metrics}


def _link(source: Path, target: Path) -> None:
    """A second name of a file that is only ever replaced; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
