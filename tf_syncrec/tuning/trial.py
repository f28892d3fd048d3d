"""One trial: a training that validation judges, and that may be given up on the way."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from data_prep import PreparedDataset
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.metrics.gains import SELECTION_METRIC
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.models.registry import network_of, trained_name
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.kept_batches import KeptBatches
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.initial.item_vectors import initialise_items
from tf_syncrec.training.loop import train
from tf_syncrec.tuning.study import Running
from tf_syncrec.utils.stopping import StopRequests
from tf_syncrec.utils.variables import as_array, fill


class GiveUp(keras.callbacks.Callback):
    """Tells the study what each epoch gave, and ends the training of a hopeless trial.

    Args:
        running: the trial.
    """

    def __init__(self, running: Running):
        super().__init__()
        self._running = running

    def on_epoch_end(self, epoch, logs=None):
        """Asks, unless this was the last epoch anyway."""
        ended = self.model.stop_training
        if self._running.tell_epoch(epoch, float(logs[f"val_{SELECTION_METRIC}"]), ended):
            self.model.stop_training = True


class Trainer:
    """Trains what trials ask for, on data that is prepared and read once for all of them.

    Args:
        config: what the tuning begins with.
        prepared: what is trained on; its test split is not read.
        strategy: devices.
        stop: asked between two steps.
        say: told what is unusual.
    """

    def __init__(
        self,
        config: Config,
        prepared: PreparedDataset,
        strategy: tf.distribute.Strategy,
        stop: StopRequests,
        say: Callable[[str], None],
    ):
        self._network = network_of(trained_name(config, prepared.data_card))
        self._prepared = prepared
        self._validation = evaluation_batches(prepared, "validation", config.evaluate.batch_size)
        self._strategy, self._stop, self._say = strategy, stop, say
        self._first_vectors: dict[tuple[int, str], list[np.ndarray]] = {}

    def run(self, running: Running, config: Config, directory: Path, log_dir: Path) -> float | None:
        """Trains, from where it was interrupted.

        Args:
            running: the trial; told each epoch, and how long it took.
            config: with the settings of the trial.
            directory: of its checkpoints; made if it is missing.
            log_dir: for TensorBoard.

        Returns:
            What settings are compared by (`comparison.grid_search.validation_metric`): validation
            NDCG@10 of users on whom nothing was fitted; None where the trial was given up.

        Raises:
            FloatingPointError: the loss is no longer a number.
            Stopped: a signal came; what was reached is kept.
        """
        start = time.perf_counter()
        try:
            return self._run(running, config, directory, log_dir)
        finally:
            self._stop.waiting = False
            running.add_seconds(time.perf_counter() - start)
            gc.collect()  # a network and what trained it refer to each other

    def _run(self, running, config, directory, log_dir) -> float | None:
        directory.mkdir(parents=True, exist_ok=True)
        prepared, best_file = self._prepared, directory / "best.weights.h5"
        keras.utils.set_random_seed(config.train.seed)
        with self._strategy.scope():
            model = self._network.build(config, prepared)
        training = config.train
        backup = Backup(
            directory,
            best_file,
            config.identity(prepared.name),
            training.checkpoint_steps,
            self._stop,
            self._say,
            training.checkpoint_minutes,
        )
        if not backup.last_good:
            self._initialise(model, config)
        trained = train(
            model,
            config,
            prepared,
            self._validation,
            best_file,
            log_dir,
            _silence,
            backup,
            callbacks=[GiveUp(running)],
        )
        if running.given_up:
            return None
        kept = KeptBatches(self._validation, model)
        judged = fit_score(model, prepared, kept, _silence)
        if judged is None:
            return trained.history[trained.best]["validation"][SELECTION_METRIC]
        return judged

    def _initialise(self, model, config: Config) -> None:
        """First item vectors, which are the same for all trials of a width."""
        key = config.model.dim, config.model.item_init
        if key in self._first_vectors:
            for weight, first in zip(_first(model), self._first_vectors[key], strict=True):
                fill(weight, first)
            return
        initialise_items(model, config, self._prepared, _silence)
        if config.model.item_init != "random":
            self._first_vectors[key] = [np.array(as_array(weight)) for weight in _first(model)]


def _first(model: MultiDomainModel) -> list[keras.Variable]:
    """What `initialise_items` sets."""
    return [weight for embedding in model.embeddings for weight in embedding.item_weights]


def _silence(line: str) -> None:
    """A trial is one line, and that is the study's."""
