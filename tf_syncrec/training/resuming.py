"""What `fit` is asked for to go on with a run, and what a run must not change on the way."""

import argparse
import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from data_prep import InputError
from tf_syncrec import config as config_module
from tf_syncrec.cli import config_from
from tf_syncrec.config import STRATEGIES, Config, TrainConfig
from tf_syncrec.distributed.cluster import PATIENCE
from tf_syncrec.models.registry import NETWORKS, with_network_settings
from tf_syncrec.training.run_directory import Run
from tf_syncrec.utils.stopping import Stopped

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run lives, and not what it computes."""
    parser.add_argument(
        "--model", metavar="NAME", help=f"what is trained (default: syncrec): {', '.join(NETWORKS)}"
    )
    run = parser.add_argument_group("devices and interruptions")
    run.add_argument(
        "--resume",
        action="store_true",
        help="go on with the unfinished run in --output_dir, with its own settings; with the "
        "options of the first time, begin it where there is none",
    )
    run.add_argument(
        "--on_nan",
        choices=TrainConfig.model_fields["on_nan"].annotation.__args__,  # type: ignore[union-attr]
        help="a step whose loss is no number: stop (the default), or skip and count it",
    )
    run.add_argument(
        "--profile",
        action="store_true",
        help="trace ten steps of the training for TensorBoard's profiler",
    )
    run.add_argument(
        "--strategy",
        choices=STRATEGIES,
        help="devices that train: auto (the default) takes every GPU there is, on this machine "
        "(mirrored) or on those of --workers or TF_CONFIG (multi_worker)",
    )
    run.add_argument(
        "--workers",
        metavar="HOST:PORT,...",
        help="processes that train together, the same list for each; the first one writes the run",
    )
    run.add_argument(
        "--worker_index", type=int, metavar="I", help="which of --workers this is, from 0"
    )
    run.add_argument(
        "--worker_patience",
        type=float,
        default=PATIENCE,
        metavar="SECONDS",
        help="how long to wait for the other workers to start (default: %(default).0f)",
    )


def training_overrides(args: argparse.Namespace) -> list[tuple[str, Any, str]]:
    """What the options of `add_run_options` set, for `cli.config_from`."""
    given = {f"train.{name}": getattr(args, name) for name in ("on_nan", "strategy")}
    given["model.name"] = args.model
    options = {"model.name": "--model"}
    return [
        (key, value, f"{options.get(key, '--' + key.split('.')[1])} {value}")
        for key, value in given.items()
        if value
    ]


def config_to_resume(args: argparse.Namespace) -> tuple[Config, Run]:
    """The configuration of a run to go on with, and the run.

    Raises:
        InputError: there is none, or the options say something else than it was begun with.
    """
    if not args.output_dir:
        raise InputError("--resume: give the directory of the run as --output_dir DIR")
    run = Run(args.output_dir)
    more = training_overrides(args)
    if not run.config_file.exists():
        begins = args.dataset or args.config
        if not begins:
            raise InputError(
                f"--resume: --output_dir {run.directory} holds no run to go on with, config.yaml "
                "is missing"
            )
        run.check_free()
        return with_network_settings(config_from(args, more)), run
    config = with_network_settings(config_from(args, more, run.config_file))
    there = config_module.load(run.config_file).fixed()
    for name, value in config.fixed().items():
        if there.get(name) != value:
            raise InputError(
                f"--resume: {run.directory} was begun with {name} = {there.get(name)!r}, the "
                f"options say {value!r}; go on without them, or begin another run"
            )
    return config, run


@contextlib.contextmanager
def told_of_full_disk(run: Run) -> Iterator[None]:
    """Turns what a full disk raises, wherever it does, into one message.

    Raises:
        Stopped: something could not be written.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        text = " ".join(str(getattr(error, "message", None) or error).split())
        full = getattr(error, "errno", None) in _FULL or "No space left" in text
        if not (full or "File too large" in text):
            raise
        raise Stopped(
            f"{run.directory}: cannot be written: {text[:300]}; what was written before is whole; "
            f"make room and {run.how_to_go_on}"
        ) from error
