"""Which logs a command means: their settings, and that the files are there."""

import argparse
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.settings import DataConfig
from tf_syncrec import config as settings
from tf_syncrec.cli import check_files, path_option
from tf_syncrec.config import Config
from tf_syncrec.training.run_directory import RunDirectory

SAME_LOG = ""
"""Of `--candidate_data` without a path: the log that the settings of the current run name."""


def _overrides(args: argparse.Namespace) -> list[tuple[str, Any, str]]:
    overrides = [*map(settings.parse_set, args.of_data)]
    if wrong := [key for key, *_ in overrides if not key.startswith("data.")]:
        raise InputError(f"--set {wrong[0]}: only settings of data make a difference here")
    return overrides


def config_of_data(args: argparse.Namespace) -> Config:
    """How a log is prepared that nothing was trained on yet: as the current run's was."""
    run = RunDirectory(args.current)
    run.check_finished()
    overrides = _overrides(args)
    if args.candidate_data != SAME_LOG:
        kind = run.load_config().data.dataset
        source = f"--candidate_data {args.candidate_data}"
        if kind != "interactions":
            raise InputError(
                f"{source}: the current run is of --dataset {kind}, which has no log of its own; "
                "leave the path out, and name what differs by --set"
            )
        overrides = [("data.path", str(path_option(args.candidate_data)), source), *overrides]
    config = settings.load(run.config_file, overrides)
    try:
        check_files(config)
    except InputError as error:
        raise InputError(f"--candidate_data: {str(error).removesuffix(' Check --path.')}") from None
    return config


def logs_of_questions(args: argparse.Namespace) -> tuple[DataConfig, DataConfig]:
    """Where the later rows are, and where the histories."""
    from data_prep.read.locate import locate

    run = RunDirectory(args.candidate)
    run.check_finished()
    RunDirectory(args.current).check_finished()
    trained = run.load_config().data
    kept = {
        f"data.{name}": getattr(trained, name)
        for name in ("columns", "max_bad_share", "engine", "spark_master")
    }

    def log(option: str, path: Path) -> DataConfig:
        source = f"{option} {path}"
        given = [(name, value, "--candidate") for name, value in kept.items()]
        given += [("data.dataset", "interactions", source), ("data.path", str(path), source)]
        return settings.load(settings.shipped("amazon"), [*given, *_overrides(args)]).data

    test = log("--test", args.test)
    past = log("--history", args.history) if args.history else trained
    given = (
        f"--history {args.history}" if args.history else f"--candidate {args.candidate}: its log"
    )
    for said, data in ((f"--test {args.test}", test), (given, past)):
        try:
            data.check()
            locate(data)
        except InputError as error:
            reason = str(error).removesuffix(" Check --path.")
            more = "" if args.history or data is test else "; name one by --history"
            raise InputError(f"{said}: {reason}{more}") from None
    return test, past
