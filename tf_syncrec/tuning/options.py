"""What `fit` is asked for to tune, and what a tuning must not change on the way."""

import argparse
import importlib
from typing import NamedTuple

from data_prep import InputError
from tf_syncrec.cli import config_from, number_option
from tf_syncrec.config import Config, parse_set
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.tuning.space import Space, space_of


class Tuning(NamedTuple):
    """What is asked for.

    Attributes:
        trials: how many.
        space: what is searched.
    """

    trials: int
    space: Space


def add_tuning_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--tune` and `--grid`."""
    tuning = parser.add_argument_group("tuning")
    tuning.add_argument(
        "--tune",
        type=number_option(int, lambda count: count >= 1, "a whole number from 1"),
        metavar="N",
        help="N trials of learning rate, dropout and temperature, chosen on validation, then train "
        "with the best; settings given by --set are not searched",
    )
    tuning.add_argument(
        "--grid",
        metavar="KEY=V1,V2",
        action="append",
        default=[],
        help="with --tune: values of a setting to search as well, e.g. --grid model.dim=64,128; "
        "may be repeated",
    )


def read_tuning(
    args: argparse.Namespace, config: Config, run: RunDirectory, begun: bool
) -> Tuning | None:
    """The tuning that the options ask for, or that the run was begun with; None for none.

    Args:
        args: of `fit`.
        config: what the run begins, or was begun with.
        run: its directory.
        begun: whether it is gone on with.

    Raises:
        InputError: the options cannot be used, or say something else than the run was begun with.
        ModuleNotFoundError: Optuna is not installed.
    """
    if args.grid and args.tune is None:
        raise InputError(f"--grid {args.grid[0]}: goes with --tune N")
    if begun and not run.tuned:
        if args.tune is not None:
            raise InputError(
                f"--tune {args.tune}: {run.directory} was begun without it; resume without it, or "
                "start another run"
            )
        return None
    asked = None
    if args.tune is not None:
        if config.train.init_from:
            raise InputError(
                f"--tune {args.tune}: not with --init_from, a warm start, which keeps the settings "
                "of the earlier run"
            )
        given = [parse_set(assignment)[0] for assignment in args.settings]
        space = space_of(config, given, args.grid, lambda more: config_from(args, more))
        asked = Tuning(args.tune, space)
    if begun:
        asked = _as_begun(run, asked)
    if asked is not None and not run.config_file.exists():
        importlib.import_module("tf_syncrec.tuning.study")  # that Optuna is missing is told now
    return asked


def _as_begun(run: RunDirectory, asked: Tuning | None) -> Tuning:
    """The tuning of a run that goes on; as long as trials are made, their number may change."""
    record = run.read_json(run.tuning_file)
    there = Tuning(record["trials_asked"], record["space"])
    if asked is None or asked == there:
        return there
    if asked.space != there.space:
        names = sorted(
            name
            for name in asked.space | there.space
            if asked.space.get(name) != there.space.get(name)
        )
        raise InputError(
            f"--resume: {run.directory} was begun with another search of {', '.join(names)}; go on "
            "without the options, or begin another run"
        )
    if run.config_file.exists():
        raise InputError(
            f"--tune {asked.trials}: the {there.trials} trials of {run.directory} have ended and "
            "the best is being trained; go on without it, or begin another run"
        )
    return asked
