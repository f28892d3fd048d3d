"""Runs of a twentieth of a second: all files of `fit`, and a few additions for arithmetic.

What is computed depends on every weight, the seed, the step and the epoch, so that a run that goes
on from anything but what it left ends otherwise. The commands, the run directory, its lock, the
checkpoints and the order of all that is written are the product's.
"""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data_prep.files import write_whole
from serving import export as export_module
from serving.saved_model.version_folders import add_version, delete_old
from tests.support.killed import ring
from tf_syncrec import pipeline, run
from tf_syncrec.evaluation.full_ranking import Ranks
from tf_syncrec.training.callbacks import BestWeights
from tf_syncrec.training.loop import Trained
from tf_syncrec.training.progress import Progress
from tf_syncrec.utils.hdf5 import load_weights

EPOCHS, STEPS, BEST = 3, 2, 1
_BASELINES = ("popularity", "uncalibrated")
OPTIONS = [
    *("--dataset", "synthetic", "--model", "bprmf", "--epochs", str(EPOCHS), "--quiet"),
    *("--set", "model.dim=2", "--set", "train.checkpoint_steps=1", "--set", "model.window=3"),
]


def number_of(model) -> float:
    """Something that every bit of every weight changes, between 0 and 1."""
    crc = 0
    for weight in model.weights:
        crc = zlib.crc32(np.asarray(weight).tobytes(), crc)
    return crc / 2**32


def metrics_of(model, prepared) -> dict:
    """As much of `metrics.json` as somebody reads."""
    row = {"users": 2, "ndcg@10": number_of(model)}
    split = {"overall": row, "domains": dict.fromkeys(prepared.catalogue.domains, row)}
    return {
        "protocol": {"dataset": prepared.name},
        "validation": split,
        "test": split,
        "baselines": {of: {"validation": split, "test": split} for of in _BASELINES},
        "views": {},
    }


def train(model, config, prepared, validation, best_file, log_dir, say, backup, *others) -> Trained:
    """In place of `training.loop.train`, by its callbacks."""
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    progress = Progress()
    backup.restore(model, progress, STEPS)
    best = BestWeights(best_file, progress)
    for callback in (best, backup):
        callback.set_model(model)
    backup.on_train_begin()
    while progress.epoch < EPOCHS:
        progress.start_clock()
        for step in range(progress.step, STEPS):
            rng = np.random.default_rng([config.train.seed, progress.epoch, step])
            for weight in model.trainable_variables:
                weight.assign(weight * 0.5 + rng.normal(size=weight.shape))
            model.optimizer.iterations.assign_add(1)
            progress.step += 1
            backup.on_train_batch_end(step)
        value = number_of(model) / 2 + (progress.epoch == BEST) / 2
        progress.end_epoch({"seconds": progress.elapsed(), "validation": {"ndcg@10": value}})
        model.stop_training = False
        best.on_epoch_end(progress.epoch - 1)
        backup.on_epoch_end(progress.epoch - 1)
    backup.end()
    load_weights(model, best_file)
    return Trained(progress.history, progress.best)


def fit_score(model, *others) -> None:
    """The score is fitted after the training: weights are no more those of the best epoch."""
    model.weights[0].assign(model.weights[0] + 1)


def measure(model, scorer, config, prepared, *others):
    """Numbers and ranks."""
    users = len(prepared.catalogue.domains)
    ranks = Ranks(
        user_ids=np.array([b"user %d" % user for user in range(users)], object),
        domains=np.arange(users, dtype=np.int32),
        target_ids=np.array([b"item"] * users, object),
        cold=np.zeros(users, bool),
        ranks=1 + np.arange(users) * number_of(model),
        history_items=np.ones(users, np.int32),
        history_lengths=np.ones(users, np.int64),
        history_times=np.arange(users, dtype=float),
        target_times=np.arange(users) + 1.0,
    )
    metrics = metrics_of(model, prepared) | {"training": {"model": config.model.name}}
    none = {"validation": 0.0, "test": 0.0}
    metrics["protocol"] |= {"cold_target_share": none, "unknown_target_share": none}
    return metrics, ranks if config.evaluate.test else None


def export(model, catalogue, export_dir: Path, settings, *others) -> Path:
    """A folder with two files in place of a SavedModel."""

    def write(folder: Path) -> None:
        (folder / "variables").mkdir(parents=True)
        (folder / "variables" / "variables.index").write_text(repr(number_of(model)))
        (folder / "saved_model.pb").write_text(" ".join(catalogue.domains))

    version = add_version(export_dir, write)
    delete_old(export_dir, settings.keep_versions, ())
    return version


def write_report(directory: Path, *others) -> Path:
    """A page that needs `metrics.json`."""
    assert (directory / "metrics.json").exists()
    write_whole(directory / "report.html", "<html>")
    return directory / "report.html"


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """All of `fit`, `evaluate` and `export` that takes time is one of the above."""
    prepared = ring(users=4, items=2)
    card = {"rows": 4, "shared_users": [[4, 4], [4, 4]]}
    prepared.data_card = card  # type: ignore[attr-defined]

    def find_data(config, name, report=None):
        return prepared if name == prepared.name else None

    def evaluate_split(model, config, prepared, split, *others):
        return metrics_of(model, prepared)

    with pytest.MonkeyPatch.context() as patch:
        for here in (train, fit_score, measure, export, write_report):
            patch.setattr(pipeline, here.__name__, here)
        for name in (
            "fit_mixture",
            "ModelScorer",
            "initialise_items",
            "write_projector",
            "write_result",
        ):
            patch.setattr(pipeline, name, lambda *arguments: None)
        patch.setattr(pipeline, "KeptBatches", lambda batches, model: batches)
        patch.setattr(pipeline, "evaluation_batches", lambda *arguments: "batches")
        patch.setattr(os, "fsync", lambda descriptor: None)  # nobody cuts the power here
        patch.setattr(pipeline, "sample_recommendations", lambda *arguments: [{"user": 1}])
        patch.setattr(pipeline, "metrics_table", lambda *arguments: "")
        patch.setattr(pipeline, "prepare_data", lambda config: prepared)
        patch.setattr(run, "evaluate_split", evaluate_split)
        patch.setattr(run, "cli", SimpleNamespace(find_data=find_data, prepare_data=_not_there))
        patch.setattr(export_module, "export", export)
        patch.setattr("tf_syncrec.evaluate.metrics_table", lambda *arguments: "")
        yield


def _not_there(*arguments):
    raise AssertionError("the data was not found, though it is there")
