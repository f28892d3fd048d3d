"""What the command lines share: options that describe a run, and how errors are told."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import absl.logging
import tensorflow as tf

from data_prep import InputError, PreparedDataset, prepare
from tf_syncrec import config as config_module
from tf_syncrec.config import Config, DataConfig
from tf_syncrec.utils.memory import keep_freed_memory
from tf_syncrec.utils.stopping import Stopped
from tf_syncrec.utils.terminal import be_quiet, say

_prepared: list[PreparedDataset] = []
"""Datasets of this process, which `run_command` looks at where a file cannot be read."""

EXTRAS = {"prometheus_client": "serving", "starlette": "serving", "uvicorn": "serving"}
"""Modules that only some commands need → the extra of the project that brings them."""

_DATA_OPTIONS = ("dataset", "raw_dir", "release", "categories", "path", "data_dir", "engine")


class Parser(argparse.ArgumentParser):
    """Tells a wrong option as every other mistake is told: in one line.

    Args:
        prog: how the command is called.
        description: one sentence.
        examples: commands to copy, of which each is true; shown below the options.
        notes: what else there is to say, below the examples.
    """

    def __init__(self, prog: str, description: str, examples: Sequence[str], notes: str = ""):
        lines = ["examples:", *(f"  {prog} {example}" for example in examples)]
        super().__init__(
            prog=prog,
            description=description,
            epilog="\n".join([*lines, *(["", notes] if notes else [])]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def parse_args(self, *args, **kwargs):
        """As ever; with --quiet, the process is."""
        found = super().parse_args(*args, **kwargs)
        be_quiet(getattr(found, "quiet", False))
        return found

    def error(self, message):
        """Raises InputError in place of printing the usage."""
        raise InputError(f"{message} (--help lists the options)")


def command_of(module: str, argv: Sequence[str] | None) -> str:
    """The command line as it was given, to be given again.

    Args:
        module: what Python ran.
        argv: its arguments; None for those of this process.
    """
    return shlex.join(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])


def run_command(main: Callable[[], None]) -> None:
    """Runs a command line; what the user got wrong is one line on stderr and exit code 2."""
    # TFDS warns about deprecations inside itself, once a split.
    absl.logging.set_verbosity(absl.logging.ERROR)
    keep_freed_memory()
    _prepared.clear()
    try:
        main()
    except InputError as error:
        # What the user gave is quoted and may have line ends of its own.
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except tf.errors.OpError:
        damage = [(data, found) for data in _prepared if (found := data.damage())]
        if not damage:
            raise
        for data, found in damage:
            directory = data.builder.data_dir
            print(
                f"error: {found}; delete {directory} and give the same command again, which "
                "prepares it anew",
                file=sys.stderr,
            )
        sys.exit(2)
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if (extra := EXTRAS.get(module)) is None:
            raise
        print(
            f"error: {module} is not installed; make setup installs it, as does "
            f'pip install "tf_syncrec[{extra}]"',
            file=sys.stderr,
        )
        sys.exit(2)
    except FloatingPointError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print(f"error: {stopped}", file=sys.stderr)
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def add_data_options(parser: argparse.ArgumentParser, one_seed: bool = True) -> None:
    """Adds the options that say which interactions to use and how to configure a run.

    Args:
        parser: of the command line.
        one_seed: whether `--help` names `--seed`; who trains with several has an option of its own.
    """
    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        choices=DataConfig.model_fields["dataset"].annotation.__args__,  # type: ignore[union-attr]
        help="synthetic: made here; amazon: public rating files; interactions: your own log "
        "(default: what the --config says, else synthetic)",
    )
    data.add_argument(
        "--raw_dir", metavar="DIR", help="amazon: folder of rating files, else downloaded"
    )
    data.add_argument(
        "--release", help="amazon: 2014, 2018 or 2023; seen from the files by default"
    )
    data.add_argument(
        "--categories", metavar="A,B", help="amazon: categories, i.e. domains, to use"
    )
    data.add_argument("--path", help="interactions: CSV, TSV or Parquet file, folder or glob")
    data.add_argument(
        "--data_dir",
        metavar="DIR",
        help="where prepared datasets are kept (default: $TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )
    data.add_argument(
        "--engine",
        choices=DataConfig.model_fields["engine"].annotation.__args__,  # type: ignore[union-attr]
        help="what prepares the data: duckdb, in this process, or spark",
    )
    run = parser.add_argument_group("settings")
    run.add_argument(
        "--config",
        metavar="FILE",
        help="YAML settings, a file or the name of one in configs/ (default: by dataset)",
    )
    run.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, e.g. --set model.dim=32; may be repeated",
    )
    run.add_argument("--quiet", action="store_true", help="say nothing but errors")
    about_seed = "of weights, dropout, negatives and order" if one_seed else argparse.SUPPRESS
    run.add_argument("--seed", metavar="N", help=about_seed)
    run.add_argument("--epochs", metavar="N", help="how many epochs, or the most of them")


def config_from(
    args: argparse.Namespace,
    more: Iterable[tuple[str, Any, str]] = (),
    default_file: Path | None = None,
) -> Config:
    """The run's configuration: file, then options, then `--set`, then `more` overrides.

    Args:
        args: of `add_data_options`.
        more: further overrides, see `config.load`.
        default_file: what stands for `--config` where it is not given; None: by dataset.
    """
    overrides = []
    for option in _DATA_OPTIONS:
        if (value := getattr(args, option)) is not None:
            given = f"--{option} {value}"
            overrides.append(
                (f"data.{option}", value.split(",") if option == "categories" else value, given)
            )
    for option in ("seed", "epochs"):
        if (value := getattr(args, option)) is not None:
            overrides.append((f"train.{option}", value, f"--{option} {value}"))
    if args.epochs is not None:  # as many and no more, however little data there is
        overrides.append(("train.min_steps", 0, f"--epochs {args.epochs}"))
    overrides += [*map(config_module.parse_set, args.settings), *more]
    named = [value for key, value, _ in overrides if key == "data.dataset"]
    default = "synthetic" if not named or named[-1] == "synthetic" else "amazon"
    path = default_file or config_module.shipped(default)
    if args.config:
        path = Path(args.config)
        shipped = config_module.shipped(path.stem)
        if not path.exists() and path.name == args.config:
            if not shipped.is_file():
                names = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
                raise InputError(f"--config {path}: no such file, and none of configs/: {names}")
            path = shipped
    return config_module.load(path, overrides)


def prepare_data(config: Config) -> PreparedDataset:
    """Prepares, or finds prepared, the dataset that a configuration names."""
    data = config.data
    prepared = prepare(
        data.dataset,
        data_dir=data.data_dir,
        raw_dir=data.raw_dir,
        release=data.release,
        categories=data.categories,
        path=data.path,
        columns=data.columns or None,
        base_url=data.base_url,
        min_interactions=data.min_interactions,
        min_domains=data.min_domains,
        min_domain_interactions=data.min_domain_interactions,
        split=data.split,
        validation_share=data.validation_share,
        test_share=data.test_share,
        synthetic=data.synthetic.model_dump() if data.dataset == "synthetic" else None,
        max_bad_share=data.max_bad_share,
        engine=data.engine,
        spark_master=data.spark_master,
        report=say,
    )
    _prepared.append(prepared)
    return prepared
