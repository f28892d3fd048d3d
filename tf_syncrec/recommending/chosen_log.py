"""Which log a command is to read histories from: that of a run, or one that is named."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.settings import DataConfig
from tf_syncrec import config as settings
from tf_syncrec.config import Config

Overrides = list[tuple[str, Any, str]]
"""As `config.load` takes them."""


def add_settings_of_data(parser: argparse.ArgumentParser, what: str = "data") -> None:
    """Adds `--set`, of which `args.of_data` is what `overrides_of_data` reads."""
    parser.add_argument(
        "--set",
        dest="of_data",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"a setting of {what}, e.g. --set data.columns.user_id=customer",
    )


def overrides_of_data(of_data: Sequence[str]) -> Overrides:
    """What `--set` says; InputError if a setting is none of data."""
    overrides = [*map(settings.parse_set, of_data)]
    if wrong := [key for key, *_ in overrides if not key.startswith("data.")]:
        raise InputError(f"--set {wrong[0]}: only settings of data make a difference here")
    return overrides


def read_as(trained: DataConfig, source: str) -> Overrides:
    """How a log of one's own is read: as that of a run was, named by an option."""
    names = ("columns", "max_bad_share", "engine", "spark_master")
    return [(f"data.{name}", getattr(trained, name), source) for name in names]


def own_log(option: str, log: Path, overrides: Overrides) -> Config:
    """A log of the form of `--dataset interactions`, given by an option."""
    source = f"{option} {log}"
    given = [("data.dataset", "interactions", source), ("data.path", str(log), source)]
    return settings.load(settings.shipped("amazon"), [*given, *overrides])


def chosen_log(
    run: Path | None, log: Path | None, of_data: Sequence[str], engine: str | None = None
) -> Config:
    """Where the histories are: as the run has it, or a log of one's own.

    Args:
        run: `--run`, a finished run; a log of one's own is read as its log was.
        log: `--input`, of the form of `--dataset interactions`; None: that of the run.
        of_data: `--set`, settings of data.
        engine: `--engine`, what reads the log; None: as `run` has it.

    Raises:
        InputError: the run cannot be read, or a setting is none of data.
    """
    overrides = overrides_of_data(of_data)
    if engine is not None:
        chosen: Overrides = [("data.engine", engine, f"--engine {engine}")]
        if engine != "spark":  # of which a run may have a master
            chosen.append(("data.spark_master", None, f"--engine {engine}"))
        overrides = chosen + overrides
    if run is not None:
        from tf_syncrec.training.run_directory import RunDirectory

        directory = RunDirectory(run)
        directory.check_finished()
        if log is None:
            return settings.load(directory.config_file, overrides)
        overrides = read_as(directory.load_config().data, "--run") + overrides
    assert log is not None, "whoever has no run names a log"
    return own_log("--input", log, overrides)


def content_of(data: DataConfig, run: Path | None, log: Path | None) -> dict[str, Any]:
    """What decides which histories there are, as a fingerprint knows it.

    Args:
        data: of `chosen_log`.
        run: as there.
        log: likewise.

    Raises:
        InputError: the log is not there, or is none.
    """
    from data_prep.read.locate import locate

    try:
        data.check()
        content = locate(data).content()
    except InputError as error:
        given = f"--input {log}" if log else f"--run {run}: its log"
        reason = str(error).removesuffix(" Check --path.")  # which these commands do not have
        raise InputError(f"{given}: {reason}") from None
    made_up = data.synthetic.model_dump() if data.dataset == "synthetic" else {}
    return {"dataset": data.dataset, **content, **made_up}
