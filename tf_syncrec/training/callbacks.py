"""What happens after each step and epoch: validation, history, best weights, a finite loss."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.config import TrainConfig
from tf_syncrec.data.batches import TrainBatches
from tf_syncrec.distributed.workers import from_chief
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC
from tf_syncrec.models.trainer import SKIPPED
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.optimizers import state_of
from tf_syncrec.training.progress import Progress
from tf_syncrec.training.tensorboard.gate_sample import GateSample
from tf_syncrec.utils.hdf5 import OPTIMIZER, save_weights_whole, save_whole
from tf_syncrec.utils.terminal import begin_stage, end_stage, steps_bar

NAMED = 10
"""Users that a message names, of all those of a batch."""


class _StepCounter(keras.callbacks.Callback):
    """What the chief and those who follow it have in common.

    Args:
        progress: changed.
        config: says when a training ends.
        planned: the most epochs that there will be.
    """

    def __init__(self, progress: Progress, config: TrainConfig, planned: int):
        super().__init__()
        self._progress = progress
        self._config = config
        self._planned = planned

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._progress.start_clock()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step."""
        self._progress.step += 1

    def stop_if_ended(self) -> None:
        """Ends the training after an epoch that was the last one."""
        self.model.stop_training |= self._progress.ended(self._config, self._planned)


class EpochReport(_StepCounter):
    """Counts steps, and records at the end of an epoch what validation and the domains say.

    Must stand before the callbacks that read the progress.

    Args:
        batches: validation batches of `data.batches.evaluation_batches`.
        catalogue: items and domains.
        progress: changed.
        config: says when a training ends.
        planned: the most epochs that there will be.
        report: told one line an epoch.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        catalogue: Catalogue,
        progress: Progress,
        config: TrainConfig,
        planned: int,
        report: Callable[[str], None],
    ):
        super().__init__(progress, config, planned)
        self._batches = batches
        self._catalogue = catalogue
        self._report = report
        self._seconds = 0.0
        self._sample: GateSample | None = None

    def on_train_batch_end(self, batch, logs=None):
        """Counts the step."""
        super().on_train_batch_end(batch, logs)
        self._seconds = self._progress.elapsed()  # without the validation

    def on_epoch_end(self, epoch, logs=None):
        """Writes everything down."""
        model, names = self.model, self._catalogue.domains
        if self._sample is None:
            self._sample = GateSample(self._batches, self._catalogue, model.window)
        # Keras's own validation ranks one batch at a time, against all candidates in one piece.
        begin_stage(f"epoch {epoch + 1}/{self._planned}, validation", "users ranked")
        with model.at_rest():
            scorer = ModelScorer(model)
            found = rank_split(scorer, self._batches, self._catalogue, with_rows=False)
        end_stage()
        validation = found.metrics(names)
        logs |= validation_logs(validation)
        quantities = model.epoch_domains()
        domains = {
            name: {quantity: float(values[d]) for quantity, values in quantities.items()}
            for d, name in enumerate(names)
        }
        scalars = model.epoch_scalars()
        gates = self._sample.weights(model)
        row = (
            {"epoch": epoch + 1, "seconds": self._seconds}
            | {"validation_seconds": self._progress.elapsed() - self._seconds}
            | scalars
            | {"domains": domains, "validation": validation["overall"]}
            | {"validation_domains": validation["domains"]}
            | ({} if gates is None else {"gates": gates})
        )
        self._progress.end_epoch(row)
        from_chief(model.distribute_strategy, row)  # a `Follower` takes it
        now = validation["overall"][SELECTION_METRIC]
        best = self._progress.history[self._progress.best]["validation"][SELECTION_METRIC]
        self._report(
            f"epoch {epoch + 1}/{self._planned}  loss {scalars['loss']:.4f}  validation NDCG@10 "
            f"{now:.4f} {'(best)' if self._progress.best == epoch else f'(best {best:.4f})'}  "
            f"{self._seconds:.0f} s"
        )
        self.stop_if_ended()


class StepBar(keras.callbacks.Callback):
    """On a terminal, a bar of the steps of the running epoch; it goes when the epoch ends.

    Args:
        progress: only read; this stands before the callback that counts.
        steps: batches an epoch.
        planned: the most epochs that there will be.
    """

    def __init__(self, progress: Progress, steps: int, planned: int):
        super().__init__()
        self._progress = progress
        self._steps = steps
        self._planned = planned

    def on_epoch_begin(self, epoch, logs=None):
        """Shows it."""
        description = f"epoch {epoch + 1}/{self._planned}"
        self._bar = steps_bar(description, self._steps, self._progress.step)

    def on_train_batch_end(self, batch, logs=None):
        """One step further."""
        self._bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Makes room for the line of the epoch."""
        self._bar.close()


def validation_logs(validation: dict[str, Any]) -> dict[str, float]:
    """What Keras calls these numbers, for callbacks: `val_ndcg@10`, `val_ndcg@10/DOMAIN`."""
    rows = {"": validation["overall"]}
    rows |= {f"/{domain}": row for domain, row in validation["domains"].items()}
    return {f"val_{m}{of}": row[m] for of, row in rows.items() for m in METRICS}


class Follower(_StepCounter):
    """What a worker that is not the chief has in place of `EpochReport`: what the chief found."""

    def on_epoch_end(self, epoch, logs=None):
        """Waits until the chief has ranked."""
        # Reading a metric adds it up over the workers, so all of them have to.
        self.model.epoch_domains()
        self.model.epoch_scalars()
        row = from_chief(self.model.distribute_strategy)
        logs |= validation_logs(
            {"overall": row["validation"], "domains": row["validation_domains"]}
        )
        self._progress.end_epoch(row)
        self.stop_if_ended()


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best epoch so far.

    Args:
        file: `*.weights.h5`, in an existing directory.
        progress: says which epoch is best.
        optimizer_file: for what the optimizer has then; None where it is not kept.
    """

    def __init__(self, file: Path, progress: Progress, optimizer_file: Path | None = None):
        super().__init__()
        self._file = file
        self._progress = progress
        self._optimizer_file = optimizer_file

    def on_epoch_end(self, epoch, logs=None):
        """Writes them when they are the best."""
        if self._progress.best == epoch:
            save_weights_whole(self.model, self._file)
            if self._optimizer_file:
                save_whole(self._optimizer_file, OPTIMIZER, state_of(self.model.optimizer))


class FiniteLoss(keras.callbacks.Callback):
    """Stops at the first step whose loss is no number.

    Args:
        batches: what is trained on, to say whose the batch was.
        progress: says which step it was.
        backup: says which checkpoint is the last good one.
    """

    def __init__(self, batches: TrainBatches, progress: Progress, backup: Backup | None):
        super().__init__()
        self._batches = batches
        self._progress = progress
        self._backup = backup

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the mean over the epoch, which one such step spoils."""
        skipped = logs.get(SKIPPED, 0)
        lost = skipped == self._batches.steps
        if math.isfinite(logs["loss"]) and not lost:
            return
        epoch, step = self._progress.epoch, self._progress.step
        users = self._batches.users_of(epoch, step - 1)
        more = f" and {len(users) - NAMED} more" if len(users) > NAMED else ""
        kept = self._backup.last_good if self._backup else None
        found = "every step was skipped" if lost else f"the loss is {logs['loss']}"
        raise FloatingPointError(
            f"epoch {epoch + 1}, step {step} of {self._batches.steps}: {found}, so training cannot "
            f"go on; users of the batch: {', '.join(users[:NAMED])}{more}; last good checkpoint: "
            f"{kept or 'none'}; try a smaller --set train.learning_rate"
            + ("" if lost or not self._backup else ", or go on with --resume --on_nan skip")
        )
