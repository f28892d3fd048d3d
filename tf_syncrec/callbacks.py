"""What happens after each epoch: validation, per-domain history, TensorBoard."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.metrics import SELECTION_METRIC
from tf_syncrec.ranking import ModelScorer, rank_split

MONITOR = f"val_{SELECTION_METRIC}"


class EpochReport(keras.callbacks.Callback):
    """Validates by full ranking and records what the model learned about each domain.

    Adds `val_ndcg@10` and the other overall metrics to the logs, so it must stand before the
    callbacks that monitor them.

    Args:
        batches: validation batches of `data.evaluation_batches`.
        catalogue: items and domains.
        log_dir: where TensorBoard scalars go.
        report: told one line an epoch; None where Keras tells it.

    Attributes:
        history: one dict an epoch, as in `history.json`.
    """

    def __init__(
        self,
        batches: tf.data.Dataset,
        catalogue: Catalogue,
        log_dir: Path,
        report: Callable[[str], None] | None = None,
    ):
        super().__init__()
        self.history: list[dict] = []
        self._batches = batches
        self._catalogue = catalogue
        self._log_dir = log_dir
        self._report = report
        self._started = 0.0

    def on_train_begin(self, logs=None):
        """Opens the log and compiles the ranking."""
        self._writer = tf.summary.create_file_writer(str(self._log_dir))
        self._scorer = ModelScorer(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Ranks the validation targets and writes everything down."""
        seconds = time.perf_counter() - self._started
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"epoch {epoch + 1}: the loss is {logs['loss']}, so training cannot go on; try a "
                "smaller --set train.learning_rate"
            )
        names = self._catalogue.domains
        ranks = rank_split(self._scorer, self._batches, self._catalogue, with_rows=False)
        validation = ranks.metrics(names)
        logs |= {f"val_{name}": x for name, x in validation["overall"].items() if name != "users"}

        model = self.model
        quantities = model.epoch_domains()
        domains = {
            name: {quantity: float(values[d]) for quantity, values in quantities.items()}
            for d, name in enumerate(names)
        }
        scalars = {name: float(logs[name]) for name in model.trackers} | model.epoch_scalars()
        self.history.append(
            {"epoch": epoch + 1, "seconds": seconds}
            | scalars
            | {"domains": domains, "validation": validation["overall"]}
        )
        if self._report:
            best = max(row["validation"][SELECTION_METRIC] for row in self.history)
            self._report(
                f"epoch {epoch + 1}: loss {scalars['loss']:.4f}, validation NDCG@10 "
                f"{validation['overall'][SELECTION_METRIC]:.4f} (best {best:.4f}), {seconds:.0f} s"
            )
        with self._writer.as_default(step=epoch + 1):
            for name, value in scalars.items():
                tf.summary.scalar(f"training/{name}", value)
            tf.summary.scalar("training/seconds", seconds)
            for name, values in domains.items():
                for quantity, value in values.items():
                    tf.summary.scalar(f"{quantity}/{name}", value)
            for name, values in {"overall": validation["overall"], **validation["domains"]}.items():
                for metric, value in values.items():
                    if metric != "users":
                        tf.summary.scalar(f"validation/{name}/{metric}", value)
        self._writer.flush()

    def on_train_end(self, logs=None):
        """Closes the log."""
        self._writer.close()
