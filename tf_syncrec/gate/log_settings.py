"""Which logs a command means: their settings, and that the files are there."""

import argparse

from data_prep.errors import InputError
from data_prep.settings import DataConfig
from tf_syncrec import config as settings
from tf_syncrec.cli import check_files, path_option
from tf_syncrec.config import Config
from tf_syncrec.recommending.chosen_log import overrides_of_data, own_log, read_as
from tf_syncrec.training.run_directory import RunDirectory

SAME_LOG = ""
"""Of `--candidate_data` without a path: the log that the settings of the current run name."""


def config_of_data(args: argparse.Namespace) -> Config:
    """How a log is prepared that nothing was trained on yet: as the current run's was."""
    run = RunDirectory(args.current)
    run.check_finished()
    overrides = overrides_of_data(args.of_data)
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
    overrides = read_as(trained, "--candidate") + overrides_of_data(args.of_data)
    test = own_log("--test", args.test, overrides).data
    past = own_log("--history", args.history, overrides).data if args.history else trained
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
