"""Which log a command is to read histories from: that of a run, or one that is named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.settings import DataConfig
from tf_syncrec import config as settings
from tf_syncrec.config import Config


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
    overrides = [*map(settings.parse_set, of_data)]
    if wrong := [key for key, *_ in overrides if not key.startswith("data.")]:
        raise InputError(f"--set {wrong[0]}: only settings of data make a difference here")
    if engine is not None:
        chosen: list[tuple[str, Any, str]] = [("data.engine", engine, f"--engine {engine}")]
        if engine != "spark":  # of which a run may have a master
            chosen.append(("data.spark_master", None, f"--engine {engine}"))
        overrides = chosen + overrides
    if run is not None:
        from tf_syncrec.training.run_directory import RunDirectory

        directory = RunDirectory(run)
        directory.check_finished()
        if log is None:
            return settings.load(directory.config_file, overrides)
        trained = directory.load_config().data
        kept = {
            name: getattr(trained, name)
            for name in ("columns", "max_bad_share", "engine", "spark_master")
        }
        overrides = [(f"data.{name}", value, "--run") for name, value in kept.items()] + overrides
    of_log = [
        ("data.dataset", "interactions", f"--input {log}"),
        ("data.path", str(log), f"--input {log}"),
    ]
    return settings.load(settings.shipped("amazon"), [*of_log, *overrides])


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
