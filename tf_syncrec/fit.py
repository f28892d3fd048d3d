"""Trains a network: `python -m tf_syncrec.fit --dataset amazon`, or `tf_syncrec.fit(...)`.

Reads what is asked for; `pipeline` has the story of a run.
"""

import datetime
import json
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.read.frames import is_frame, path_of
from tf_syncrec.cli import (
    Parser,
    add_data_options,
    check_files,
    command_of,
    load_tensorflow,
    path_option,
    run_command,
    say,
)
from tf_syncrec.config import Config
from tf_syncrec.training.loggers.installed import check_installed
from tf_syncrec.training.resuming import (
    add_run_options,
    config_to_resume,
    new_config,
    tidy,
)
from tf_syncrec.tuning.options import add_tuning_options, read_tuning
from tf_syncrec.utils.callable_module import make_module_callable
from tf_syncrec.utils.nested import flat
from tf_syncrec.utils.terminal import be_quiet

if TYPE_CHECKING:
    from tf_syncrec.run import Run


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    _run(argv, command_of("tf_syncrec.fit", argv))


FILES = ("path", "items", "titles")
"""Options of `fit` in whose place a frame may be given."""


def fit(
    data: Any = None,
    /,
    *,
    config: Config | str | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Any = (),
    verbose: bool = True,
    **options: Any,
) -> "Run":
    """Prepares data, trains, evaluates and exports, as the command line does.

    Args:
        data: a frame of interactions, for `dataset="interactions", path=frame`: of pandas, Polars,
            PyArrow or DuckDB. A `config` may stand here as well.
        config: all settings, a YAML file or the name of one in configs/; None: by dataset.
        settings: single settings, as `--set` takes them: `{"model.dim": 32}`, or nested,
            `{"model": {"dim": 32}}`.
        callbacks: one of Keras's or several, for the training; their logs have `val_ndcg@10` and
            `val_ndcg@10/DOMAIN`. What they keep of their own begins anew after an interruption.
            The votes and the weights of the views are fitted when the training has ended, so that
            a model that `ModelCheckpoint` saves has none. Trials of `tune` have no callbacks.
        verbose: whether to say what is done.
        options: of the command line, by the same names: `dataset="interactions"`,
            `path="log.csv"`, `model="sasrec"`, `epochs=3`, `seed=1`, `output_dir="runs/shop"`,
            `tune=12`, `resume=True`. `path`, `items` and `titles` may be frames; these are kept as
            Parquet in the folder `frames` of `data_dir`.

    Returns:
        The run, which recommends and evaluates.

    Raises:
        InputError: what was given cannot be used.
        Stopped: by a signal or a full disk; what was reached is kept.
        FloatingPointError: the loss is no longer a number.
    """
    if isinstance(data, str | Config) and config is None:
        data, config = None, data
    elif data is not None and not is_frame(data):
        raise InputError(
            "fit: expected a frame (pandas, Polars, PyArrow, DuckDB) or a config, received "
            f"{type(data).__name__}; a log on disk is given as path="
        )
    settings = dict(flat(settings or {}))
    options = _with_files(data, config, settings, options)
    argv = [] if verbose else ["--quiet"]
    for name, value in options.items():
        if value is True:
            argv.append(f"--{name}")
        elif value is not None and value is not False:
            listed = isinstance(value, list | tuple)
            argv += [f"--{name}", ",".join(map(str, value)) if listed else str(value)]
    for name, value in settings.items():
        argv += ["--set", f"{name}={json.dumps(value)}"]  # JSON is YAML
    several = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    try:
        with tempfile.TemporaryDirectory() as folder:
            if config is not None and not isinstance(config, str):
                file = Path(folder) / "config.yaml"
                config.save(file)
                config = str(file)
            argv += [] if config is None else ["--config", config]
            return _run(argv, command_of("tf_syncrec.fit", argv), several)
    finally:
        be_quiet(False)


def _with_files(
    data: Any, config: Config | str | None, settings: Mapping[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    """Options with files in place of frames; a frame of interactions says which dataset it is."""
    options = dict(options)
    if data is not None:
        if options.get("path") is not None:
            raise InputError("path: a log is given already, as a frame; give one of them")
        options["path"] = data
    if is_frame(options.get("path")) and "data.dataset" not in settings:
        options.setdefault("dataset", "interactions")
    place = options.get("data_dir") or settings.get("data.data_dir")
    if place is None and config is not None and not isinstance(config, str):
        place = config.data.data_dir
    given = {name: options[name] for name in FILES if options.get(name) is not None}
    return options | {name: path_of(value, name, place) for name, value in given.items()}


def _run(argv: list[str] | None, command: str, callbacks: Sequence[Any] = ()) -> "Run":
    """Reads the options, then does what they say."""
    parser = Parser(
        prog="python -m tf_syncrec.fit",
        description="Train a network on interactions of several domains, evaluate and export it.",
        examples=[
            "--dataset synthetic",
            "--dataset interactions --path log.csv --output_dir runs/shop",
            "--dataset interactions --path log.csv --set data.columns.user_id=customer",
            "--dataset interactions --path log.csv --model sasrec",
            "--dataset interactions --path log.csv --tune 12 --output_dir runs/shop",
            "--init_from runs/yesterday --path log.csv --output_dir runs/today",
            "--resume --output_dir runs/shop",
        ],
        notes="Settings: configs/ and docs/settings.md; files of a run: docs/run.md.",
    )
    add_data_options(parser)
    parser.add_argument(
        "--output_dir", type=path_option, metavar="DIR", help="default: runs/DATASET-DATE-TIME"
    )
    add_run_options(parser)
    add_tuning_options(parser)
    parser.add_argument(
        "--titles",
        type=path_option,
        metavar="FILE",
        help="CSV with the columns item_id and title, for the samples of the report",
    )
    args = parser.parse_args(argv)

    from tf_syncrec.reporting.titles import sample_titles
    from tf_syncrec.training.run_directory import RunDirectory

    sample_titles(args.titles, [])  # a wrong file is told now and not in hours
    begun = False
    if args.resume:
        config, run, begun = config_to_resume(args)
        if run.finished:
            say(f"{run.directory} is a finished run; there is nothing to resume.")
            if not run.report_file.exists():
                again = f"python -m tf_syncrec.report --run {shlex.quote(str(run.directory))}"
                say(f"To write its report again: {again}")
    else:
        config = new_config(args)
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        run = RunDirectory(args.output_dir or f"runs/{config.data.dataset}-{now}")
        run.check_free()
    tuning = None
    if not run.finished:
        tuning = read_tuning(args, config, run, begun)
        check_files(config)
        check_installed(config.train.log)
    load_tensorflow()
    unasked = not args.resume and vars(args)["data.dataset"] is None
    if unasked and config.data.dataset == "synthetic":
        _say_what_is_trained(config, run.directory)
    if run.finished:
        tidy(run)
    from tf_syncrec.distributed.cluster import cluster_of
    from tf_syncrec.pipeline import fit_run
    from tf_syncrec.run import Run

    if not run.finished:
        cluster = cluster_of(args.workers, args.worker_index, config.train.strategy)
        if tuning is not None:
            from tf_syncrec.tuning.search import tune

            config = tune(config, run, tuning, begun, cluster)
            begun = run.config_file.exists()
        fit_run(
            config,
            run,
            command,
            resume=begun,
            cluster=cluster,
            patience=args.worker_patience,
            titles_file=args.titles,
            profile=args.profile,
            callbacks=callbacks,
        )
    return Run(run.directory)


def _say_what_is_trained(config: Config, directory: Path) -> None:
    """To somebody who gave no log."""
    made_up = config.data.synthetic
    say(
        f"No --dataset was given, so the log is synthetic: {made_up.users:,} users in several "
        "domains, one of them with negative transfer. This trains a network, evaluates and exports "
        f"it and writes a report, all to {directory}: a minute or two on 2 free cores. For your "
        "own log: --dataset interactions --path log.csv"
    )


make_module_callable(__name__, fit)  # `tf_syncrec.fit(...)`

if __name__ == "__main__":
    run_command(main)
