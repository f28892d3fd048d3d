"""What TensorBoard shows of a training: `tensorboard --logdir runs`."""

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.plugins.hparams import api as hparams

from data_prep import Catalogue
from tf_syncrec.config import OF_OTHERS, Config
from tf_syncrec.distributed.workers import several_workers
from tf_syncrec.evaluation import by_domain
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.progress import Progress
from tf_syncrec.training.tensorboard.input_wait import InputWait
from tf_syncrec.training.tensorboard.layout import write_layout
from tf_syncrec.utils.glyphs import without_glyph_warnings
from tf_syncrec.utils.nested import flat

LOG_STEPS = 50
"""Steps between two points of the curves of a domain; each is the mean over these steps."""

PROFILED = range(20, 30)
"""Steps of `--profile`, counted from its start: behind those that compile and warm up."""

NAMED_IN_A_PICTURE = 30
"""Domains that a picture of the gates has room to name."""


class Dashboard(keras.callbacks.Callback):
    """Writes scalars over steps, gates as pictures, the run's settings and its graph.

    Must stand after `EpochReport`, whose history it reads.

    Args:
        log_dir: of the run.
        catalogue: items and domains.
        progress: only read.
        settings: what tells runs apart in the HPARAMS tab, of `hyperparameters`.
        wait: measures the waiting for input; None where it is not measured.
        profile: whether to trace some steps for TensorBoard's profiler.
    """

    def __init__(
        self,
        log_dir: Path,
        catalogue: Catalogue,
        progress: Progress,
        settings: dict[str, bool | int | float | str],
        wait: InputWait | None = None,
        profile: bool = False,
    ):
        super().__init__()
        self._log_dir = str(log_dir)
        self._names = catalogue.domains
        self._progress = progress
        self._settings = settings
        self._wait = wait
        self._profile = profile
        self._begun = False
        self._profiling = False
        self._marked: Any = None  # the running step, as the profiler knows it
        self._here = 0  # steps of this process
        self._writer = tf.summary.create_file_writer(self._log_dir)

    def on_train_begin(self, logs=None):
        """Says what is trained, and has TensorFlow record the graph of the first step."""
        if self._begun:
            return
        self._begun = True
        with self._writer.as_default(step=0):
            hparams.hparams(self._settings, trial_id=trial_id_of(Path(self._log_dir).parent))
            write_layout()
        tf.summary.trace_on(graph=True)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts counting anew."""
        self._before: Any = 0.0
        self._waited = 0.0 if self._wait is None else self._wait.seconds

    def on_train_batch_begin(self, batch, logs=None):
        """Begins to profile, and marks the step: without marks the tab knows no step times."""
        if self._profile and self._here == PROFILED.start:
            tf.profiler.experimental.start(self._log_dir)
            self._profiling = True
        if self._profiling:
            self._marked = tf.profiler.experimental.Trace("train", step_num=self._here, _r=1)
            self._marked.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        """Writes the graph once, and what is known of the domains every so many steps."""
        self._here += 1
        self._end_mark()
        if self._here == 1:
            with self._writer.as_default():
                tf.summary.trace_export("training step", step=0)
        if self._here == PROFILED.stop:
            self._end_profile()
        if self._progress.step % LOG_STEPS == 0:
            self._write_domains()

    def on_epoch_end(self, epoch, logs=None):
        """Writes everything that is known once an epoch."""
        self._write_domains()
        row = self._progress.history[-1]
        if self._sums() is None:
            self._write_by_domain(row["domains"])
        with self._writer.as_default(step=self._step()):
            for name, value in row.items():
                if isinstance(value, (int, float)) and name != "seconds":
                    tf.summary.scalar(f"training/{name}", value)
            self._write_speed(row["seconds"])
            found = {"overall": row["validation"], "domains": row["validation_domains"]}
            for name, values in by_domain(found).items():
                for metric, value in values.items():
                    if metric != "users":
                        tf.summary.scalar(f"validation/{name}/{metric}", value)
            if "gates" in row:
                for task in ("cross", "single"):
                    tf.summary.image(f"gates/{task}", gate_picture(row["gates"], task)[None])
        self._writer.flush()

    def close(self) -> None:
        """Closes the log."""
        self._end_profile()
        self._writer.close()

    def _step(self) -> int:
        """Training steps so far, of the parts before an interruption too."""
        return int(self.model.optimizer.iterations.numpy()) - self._progress.steps_before

    def _sums(self):
        """Of the metrics by domain; None where all workers would have to ask, and are not there."""
        alone = not several_workers(self.model.distribute_strategy)
        return self.model.domain_sums() if alone else None

    def _write_domains(self) -> None:
        """Means over the steps since the last time."""
        sums = self._sums()
        if sums is None:
            return
        quantities = self.model.domain_means(sums - self._before)
        self._before = sums
        self._write_by_domain(
            {
                name: {quantity: values[d] for quantity, values in quantities.items()}
                for d, name in enumerate(self._names)
            }
        )

    def _write_by_domain(self, domains) -> None:
        with self._writer.as_default(step=self._step()):
            for name, values in domains.items():
                for quantity, value in values.items():
                    tf.summary.scalar(f"{quantity}/{name}", value)

    def _write_speed(self, seconds: float) -> None:
        tf.summary.scalar("speed/seconds_per_epoch", seconds)
        tf.summary.scalar("speed/steps_per_second", self._epoch_steps() / seconds)
        if self._wait is not None:
            waited = self._wait.seconds - self._waited
            tf.summary.scalar("speed/input_wait_share", waited / seconds)

    def _epoch_steps(self) -> float:
        return self._step() / len(self._progress.history)

    def _end_mark(self) -> None:
        if self._marked is not None:
            self._marked.__exit__(None, None, None)
            self._marked = None

    def _end_profile(self) -> None:
        self._end_mark()
        if self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = self._profile = False


def hyperparameters(config: Config, model: MultiDomainModel) -> dict[str, bool | int | float | str]:
    """What tells runs apart in the HPARAMS tab."""
    elsewhere: dict[str, Any] = dict.fromkeys(("data", "evaluate", *OF_OTHERS), True)
    settings = config.model_dump(exclude=elsewhere | {"train": {"log"}})
    values = {name: value for name, value in flat(settings) if value is not None}
    values["model.time_inputs"] = ", ".join(model.time_inputs) or "none"  # what auto has found
    return {"network": type(model).__name__, "dataset": config.data.dataset} | values


def trial_id_of(directory: Path) -> str:
    """What the HPARAMS tab calls a run: by its folder, as equal settings would share a row else.

    The name comes first, as the column cuts the rest off.
    """
    return f"{directory.name} ({directory.parent})"


def gate_picture(gates: dict[str, Any], task: str) -> np.ndarray:
    """Weights of the experts in each domain, `[height, width, 3]` uint8.

    Args:
        gates: of `GateSample.weights`.
        task: `cross` or `single`.
    """
    names = list(gates["domains"])
    weights = np.array([gates["domains"][name][task] for name in names])
    rows, columns = weights.shape
    figure = Figure(figsize=(2.5 + 0.55 * columns, 0.8 + 0.22 * rows), dpi=80, layout="tight")
    axes = figure.add_subplot()
    axes.imshow(weights, vmin=0.0, vmax=1.0, cmap="Blues", aspect="auto")
    axes.set_xticks(range(columns), gates["experts"], size=8)
    named = range(0, rows, -(-rows // NAMED_IN_A_PICTURE))
    axes.set_yticks(named, [names[d][:24] for d in named], size=8, parse_math=False)
    buffer = io.BytesIO()
    with without_glyph_warnings():
        FigureCanvasAgg(figure).print_png(buffer)
    return tf.io.decode_png(buffer.getvalue(), channels=3).numpy()
