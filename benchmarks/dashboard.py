"""What logging costs: the same training with and without all that TensorBoard shows.

    python -m benchmarks.dashboard [--rounds 8] [--steps 100]

Two models of one configuration take turns, an epoch each, so that a busy machine slows both down.
One has the dashboard, gradient norms, the measured input and the gates once an epoch; the other has
none of them. Validation is left out of both. The first round compiles and is not counted. On a
machine that others use as well, read the CPU time.
"""

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from data_prep import prepare
from tf_syncrec.config import Config, load, shipped
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.progress import Progress
from tf_syncrec.training.tensorboard.dashboard import Dashboard
from tf_syncrec.training.tensorboard.gate_sample import GateSample
from tf_syncrec.training.tensorboard.input_wait import InputWait


class Unwatched(SyNCRec):
    """Notes nothing of its gradients."""

    def watch_gradients(self, gradients, weights):
        pass


class Row(keras.callbacks.Callback):
    """What `EpochReport` leaves in the history, but for validation."""

    def __init__(self, progress: Progress, sample: GateSample, catalogue):
        super().__init__()
        self.progress, self.sample, self.catalogue = progress, sample, catalogue

    def on_epoch_begin(self, epoch, logs=None):
        self.progress.start_clock()

    def on_train_batch_end(self, batch, logs=None):
        self.progress.step += 1

    def on_epoch_end(self, epoch, logs=None):
        self.progress.end_epoch(
            {"epoch": epoch + 1, "seconds": self.progress.elapsed(), "validation": {}}
            | {"domains": {}, "validation_domains": {}, "gates": self.sample.weights(self.model)}
            | self.model.epoch_scalars()
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    parser.add_argument("--config", default="amazon", help="a configuration of configs/")
    args = parser.parse_args()
    config = load(shipped(args.config))
    prepared = prepare("synthetic", report=None)
    catalogue = prepared.catalogue
    batches = train_batches(prepared, config.model.window, config.train.batch_size, 0)
    validation = evaluation_batches(prepared, "validation", 256)
    progress, wait = Progress(), InputWait()
    sample = GateSample(validation, catalogue, config.model.window)
    times: dict[str, list[tuple[float, float]]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        dashboard = Dashboard(Path(folder), catalogue, progress, {}, wait)
        sides = {
            "without": (_model(Unwatched, config, catalogue), []),
            "with": (_model(SyNCRec, config, catalogue), [Row(progress, sample, catalogue)]),
        }
        sides["with"][1].append(dashboard)
        for turn in range(args.rounds + 1):
            for side, (model, callbacks) in sides.items():
                epoch = batches.epoch(turn).repeat().take(args.steps)
                start = np.array([time.perf_counter(), time.process_time()])
                model.fit(
                    wait.watch(epoch) if callbacks else epoch,
                    steps_per_epoch=args.steps,
                    initial_epoch=turn,
                    epochs=turn + 1,
                    verbose=0,
                    callbacks=callbacks,
                )
                if turn:
                    end = np.array([time.perf_counter(), time.process_time()])
                    times[side].append(end - start)
        dashboard.close()
    for place, clock in enumerate(("wall", "CPU")):
        sides_ms = {
            side: 1000 * np.array([pair[place] for pair in pairs]) / args.steps
            for side, pairs in times.items()
        }
        low, middle, high = np.percentile(sides_ms["with"] / sides_ms["without"], [25, 50, 75])
        print(
            f"{clock:5} ms a step, medians of {args.rounds} rounds: without "
            f"{np.median(sides_ms['without']):.1f}, with {np.median(sides_ms['with']):.1f}; ratio "
            f"within a round, median and quartiles: {middle:.3f} [{low:.3f}, {high:.3f}]"
        )


def _model(kind: type[SyNCRec], config: Config, catalogue) -> SyNCRec:
    keras.utils.set_random_seed(0)
    model = kind.from_settings(config, catalogue.sizes)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


if __name__ == "__main__":
    main()
