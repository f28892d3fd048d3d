"""Trainings in processes of their own, to be killed; a module that forks can import beforehand."""

import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from data_prep import Catalogue
from tests.conftest import FakePrepared
from tests.support.file_events import watched
from tf_syncrec.cli import run_command
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.fit import main as fit
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.backup import Backup
from tf_syncrec.training.checkpoints import Checkpoints
from tf_syncrec.training.loop import train
from tf_syncrec.utils.stopping import StopRequests

SETTINGS: dict[str, dict] = {
    "model": {"window": 4, "dim": 4, "experts": 2, "cross_experts": 1, "blocks": 1, "dropout": 0.3},
    "loss": {"negatives": 3},
    "negative_transfer": {"trainable_rates": True},
    "train": {"seed": 5, "epochs": 12, "batch_size": 4, "checkpoint_steps": 1, "patience": 4},
}


def settings(**training) -> Config:
    """A tiny training with everything random in it."""
    return Config.model_validate(SETTINGS | {"train": SETTINGS["train"] | training})


def ring(users=36, items=6) -> FakePrepared:
    """Users who walk on a ring of items in two domains: there is something to learn."""
    ids = np.array([f"item {i}" for i in range(2 * items)], object)
    catalogue = Catalogue(
        ("left", "right"),
        ids,
        np.repeat(np.arange(2, dtype=np.int32), items),
        np.full(2 * items, 9, np.int64),
    )
    rng = np.random.default_rng(0)
    splits: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
    for user in range(users):
        walk = (rng.integers(items) + np.arange(rng.integers(4, 8))) % items
        walk = (1 + walk + items * rng.integers(2, size=len(walk))).astype(np.int32)
        row = {"user_id": f"user {user}".encode(), "items": walk[:-1]}
        splits["train"].append(row)
        target = {"target": walk[-1], "domain": int(walk[-1] > items)}
        splits["validation"].append(row | target | {"target_item_id": ids[walk[-1] - 1].encode()})
    return FakePrepared(catalogue, splits)


def train_kept(directory: Path, config: Config, spoil=None, moments=None):
    """Trains, or goes on; returns `(model, trained)`.

    Args:
        directory: of checkpoints and best weights.
        config: of the training.
        spoil: told the model before it is trained.
        moments: that the optimizer begins with, where there is no checkpoint.
    """
    prepared = ring()
    keras.utils.set_random_seed(config.train.seed)
    model = SyNCRec.from_settings(config, prepared.catalogue.sizes)
    if spoil:
        spoil(model)
    best, optimizer = directory / "best.weights.h5", directory / "optimizer.h5"
    directory.mkdir(parents=True, exist_ok=True)
    every = config.train.checkpoint_steps
    with StopRequests(lambda: "go on with --resume") as stop:
        backup = Backup(
            directory,
            best,
            config.identity(prepared.name),
            every,
            stop,
            print,
            config.train.checkpoint_minutes,
            optimizer_file=optimizer,
        )
        return model, train(
            model,
            config,
            prepared,
            evaluation_batches(prepared, "validation", 16),
            best,
            directory / "logs",
            report=print,
            backup=backup,
            moments=None if backup.last_good else moments,
            optimizer_file=optimizer,
        )


def _quiet(log: Path) -> None:
    """What a process of its own does first; forked ones have the signals of their parent."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)


def train_in_process(directory: Path, log: Path) -> None:
    """`train_kept`, to the end."""
    _quiet(log)
    train_kept(directory, settings())


def fit_killed_at(arguments: list[str], log: Path, directory: Path, moment: int | None) -> None:
    """The command `fit`, killed at the n-th event of a file below a directory; says how many."""
    _quiet(log)
    with watched(directory, moment, lambda: os.kill(os.getpid(), signal.SIGKILL)) as watch:
        fit(arguments)
    print(f"{watch.seen} events", flush=True)


def fit_in_process(arguments: list[str], log: Path) -> None:
    """The command `fit`; leaves the last checkpoint to be looked at."""
    _quiet(log)
    Checkpoints.clear = lambda self: None  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    run_command(fit)
