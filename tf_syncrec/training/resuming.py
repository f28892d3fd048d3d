"""What `fit` is asked for to go on with a run, and what a run must not change on the way."""

import argparse
import contextlib
import errno
import sys
from collections.abc import Iterator
from typing import Any

from data_prep import InputError
from tf_syncrec import config as config_module
from tf_syncrec.cli import add_settings, config_from
from tf_syncrec.config import ADDED, Config, parse_set, schema
from tf_syncrec.distributed.cluster import PATIENCE
from tf_syncrec.models.registry import NETWORKS, with_network_settings
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils.stopping import Stopped

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run lives, and not what it computes."""
    parser.add_argument(
        "--model",
        dest="model.name",
        metavar="NAME",
        help=f"{schema()['model.name']['description']} (by default syncrec): {', '.join(NETWORKS)}",
    )
    parser.add_argument(
        "--no_test",
        dest="evaluate.test",
        action="store_const",
        const=False,
        help="evaluate on validation only, while settings are chosen; tf_syncrec.evaluate "
        "evaluates on test later",
    )
    parser.add_argument(
        "--init_from",
        dest="train.init_from",
        metavar="DIR",
        help="warm start from the weights of a finished run, by default with its settings; items, "
        "users and domains may be new",
    )
    add_settings(parser, "train.log")
    run = parser.add_argument_group("devices and interruptions")
    run.add_argument(
        "--resume",
        action="store_true",
        help="resume the unfinished run in --output_dir, with its own settings; with all options "
        "given, start it if there is none",
    )
    add_settings(run, "train.on_nan", "train.strategy")
    run.add_argument(
        "--profile",
        action="store_true",
        help="trace ten steps of the training for TensorBoard's profiler",
    )
    run.add_argument(
        "--workers",
        metavar="HOST:PORT,...",
        help="workers of a distributed training, the same list for each; the first one writes the "
        "run",
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


def new_config(args: argparse.Namespace) -> Config:
    """The configuration of a run that begins; its defaults are those of the run it goes on from.

    That a file of settings is of a run that went on from another says nothing of a new one.

    Args:
        args: of the command line; `--set train.init_from=DIR` is taken for `--init_from DIR`.

    Raises:
        InputError: an option cannot be used, or there is no such run.
    """
    for key, value, _ in map(parse_set, args.settings):
        if key == "train.init_from":
            setattr(args, key, value)
    settings_file = None
    if init_from := getattr(args, "train.init_from"):
        earlier = RunDirectory(init_from)
        earlier.check_finished("--init_from")
        settings_file = earlier.config_file
    config = with_network_settings(config_from(args, default_file=settings_file))
    if not init_from:
        config.train.init_from = None
    return config


def config_to_resume(args: argparse.Namespace) -> tuple[Config, RunDirectory, bool]:
    """The configuration of a run to go on with, the run, and whether it has been begun.

    Of a run that is tuned, it is the configuration of its first trial.

    Raises:
        InputError: there is none, or the options say something else than it was begun with.
    """
    if not args.output_dir:
        raise InputError("--resume: give the directory of the run as --output_dir DIR")
    run = RunDirectory(args.output_dir)
    if not run.begun_file.exists():
        begun_by = ("data.dataset", "train.init_from")
        if not (args.config or any(getattr(args, option) for option in begun_by)):
            raise InputError(
                f"--resume: --output_dir {run.directory} holds no run to resume, config.yaml is "
                "missing"
            )
        run.check_free()
        return new_config(args), run, False
    there = config_module.load(run.begun_file)
    if not run.finished:
        _check_complete(run, there)
    config = with_network_settings(config_from(args, default_file=run.begun_file))
    begun_with = there.fixed()
    for name, value in config.fixed().items():
        if begun_with.get(name) != value:
            raise InputError(
                f"--resume: {run.directory} was begun with {name} = {begun_with.get(name)!r}, the "
                f"options say {value!r}; resume without them, or start another run"
            )
    return config, run, True


def _check_complete(run: RunDirectory, config: Config) -> None:
    """Refuses a file of settings that lacks some: defaults would train something else."""
    for name in schema():
        section: Any = config
        for part in name.split("."):
            given = part in section.model_fields_set
            section = getattr(section, part)
        if not given and name not in ADDED:
            raise InputError(
                f"--resume: {run.begun_file} does not have all settings, {name} is missing; put "
                "it back from a copy, or start another run"
            )


def tidy(run: RunDirectory) -> None:
    """Removes what a kill after the last file of a run left: checkpoints, and what was written.

    Where another process is at the run, it does so.
    """
    from tf_syncrec.training.checkpoints import Checkpoints  # which needs TensorFlow

    try:
        if run.lock.take() is not None:
            return
        Checkpoints(run.checkpoint_file.parent, lambda line: None).clear()
        run.remove_partial()
    except (OSError, InputError):
        return  # a run that may only be read is finished all the same
    finally:
        run.lock.release()


@contextlib.contextmanager
def reraise_full_disk(run: RunDirectory) -> Iterator[None]:
    """Turns what a full disk raises, wherever it does, into one message.

    Raises:
        Stopped: something could not be written.
    """
    try:
        yield
    except Exception as error:
        tf = sys.modules.get("tensorflow")
        if not isinstance(error, (OSError, tf.errors.OpError) if tf else OSError):
            raise
        text = " ".join(str(getattr(error, "message", None) or error).split())
        full = getattr(error, "errno", None) in _FULL or "No space left" in text
        if not (full or "File too large" in text):
            raise
        raise Stopped(
            f"{run.directory}: cannot be written: {text[:300]}; earlier files are complete; free "
            f"some space, then {run.resume_hint}"
        ) from error
