"""What the command lines share: options that describe a run, and how errors are told.

Nothing heavy is imported before the options are read: a mistake is told at once.
"""

import argparse
import contextlib
import datetime
import errno
import gc
import math
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files import local_path
from tf_syncrec import config as config_module
from tf_syncrec.command_start import hear_interrupts
from tf_syncrec.config import Config, schema, takes
from tf_syncrec.utils.keras_setup import check_keras
from tf_syncrec.utils.parallel import run_operations_side_by_side
from tf_syncrec.utils.stopping import Stopped
from tf_syncrec.utils.terminal import be_quiet, say

if TYPE_CHECKING:
    from data_prep import PreparedDataset

_prepared: list["PreparedDataset"] = []
"""Datasets of this process, which `run_command` looks at where a file cannot be read."""

_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)

EXTRAS = {
    "optuna": "tune",
    "prometheus_client": "serving",
    "starlette": "serving",
    "uvicorn": "serving",
}
"""Modules that only some commands need → the extra of the project that brings them."""


class _Version(argparse.Action):
    """Asks git for the commit only where somebody wants to know."""

    def __call__(self, parser, *_):
        from tf_syncrec.utils.version import version_line

        print(version_line())
        parser.exit()


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
        self.add_argument("--version", action=_Version, nargs=0, help="release and commit")

    def parse_args(self, *args, **kwargs):
        """As ever; with --quiet, the process is."""
        found = super().parse_args(*args, **kwargs)
        be_quiet(getattr(found, "quiet", False))
        return found

    def error(self, message):
        """Raises InputError in place of printing the usage."""
        raise InputError(f"{message} (--help lists the options)")


def path_option(text: str) -> Path:
    """The type of an option that takes a path of this machine."""
    try:
        return local_path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def number_option(
    kind: Callable[[str], float], holds: Callable[[float], bool], what: str
) -> Callable[[str], float]:
    """The type of an option that takes a number.

    Args:
        kind: `int` or `float`.
        holds: whether a number will do.
        what: is wanted, for the message.
    """

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            raise argparse.ArgumentTypeError(f"{what}, received {text!r}")
        return value

    return read


def moment_option(text: str) -> float | datetime.datetime:
    """The type of an option that takes a moment: a finite number, or ISO 8601, by itself of UTC."""
    try:
        number = float(text)
    except ValueError:
        try:
            found = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected a number or a time by ISO 8601, received {text!r}"
            ) from None
        return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a finite number, received {text!r}")
    return number


def command_of(module: str, argv: Sequence[str] | None) -> str:
    """The command line as it was given, to be given again.

    Args:
        module: what Python ran.
        argv: its arguments; None for those of this process.
    """
    return shlex.join(["python", "-m", module, *(sys.argv[1:] if argv is None else argv)])


def run_command(main: Callable[[], None]) -> None:
    """Runs a command line; what the user got wrong is one line on stderr and exit code 2."""
    _prepared.clear()
    hear_interrupts()
    # Making graphs makes many objects that stay: looking through them again and again takes a tenth
    # of the time of a short run.
    gc.set_threshold(50_000, 20, 100)
    try:
        try:
            main()
        except SystemExit:  # --help and --version
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # so that a reader who has gone is noticed here
    except BrokenPipeError:
        # As a program that SIGPIPE ends, `| head` being content. Python would flush once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except InputError as error:
        # What the user gave is quoted and may have line ends of its own.
        print("error:", " ".join(str(error).split()), file=sys.stderr)
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
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one need not wait, nor be told
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        damage = _refusal_of_the_system(error) or _damage_behind(error)
        if not damage:
            raise
        for text in damage:
            print(f"error: {text}", file=sys.stderr)
        sys.exit(2)


def _refusal_of_the_system(error: Exception) -> list[str]:
    """What may not be read or written, or has no room; of a file that no check has met before."""
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return []
    return [f"{error.filename or 'a file'}: cannot be read or written ({error.strerror})"]


def _damage_behind(error: Exception) -> list[str]:
    """What is wrong with the prepared data, if TensorFlow raised the error and something is."""
    tf = sys.modules.get("tensorflow")
    if tf is None or not isinstance(error, tf.errors.OpError):
        return []
    return [
        f"{found}; delete {data.builder.data_dir} and give the same command again, which prepares "
        "it anew"
        for data in _prepared
        if (found := data.damage())
    ]


def load_tensorflow(side_by_side: bool = True) -> None:
    """Imports TensorFlow as command lines want it: without what their users cannot act on.

    With `TF_CPP_MIN_LOG_LEVEL=0` in the environment, it says all that it has to say.

    Args:
        side_by_side: as in `run_operations_side_by_side`; else a single operation has all cores.

    Raises:
        InputError: Keras is set up otherwise than we compute.
    """
    try:
        check_keras()
    except ImportError as error:
        raise InputError(str(error)) from None
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0"
    with (
        _no_native_log() if quiet and "tensorflow" not in sys.modules else contextlib.nullcontext()
    ):
        import tensorflow

    if side_by_side:
        run_operations_side_by_side()
    import absl.logging

    tensorflow.get_logger().setLevel("WARNING")  # which is INFO in a notebook

    # TFDS warns about deprecations inside itself, once a split.
    absl.logging.set_verbosity(absl.logging.ERROR)


@contextlib.contextmanager
def _no_native_log() -> Iterator[None]:
    """Keeps what C++ writes to stderr away; Python's exceptions pass as ever.

    TensorFlow 2.21 writes lines about CUDA and oneDNN while it is loaded, before it has read the
    environment variable that is there to turn them off.
    """
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def add_settings(options: Any, *settings: str) -> None:
    """Adds options that change a setting each; what they take is said by the schema.

    Args:
        options: a parser, or a group of it.
        settings: `section.name` of each.
    """
    for setting in settings:
        option, facts = option_of(setting), schema()[setting]
        choices = facts.get("enum") if "anyOf" not in facts else None
        about = [takes(setting)] if takes(setting) and not choices else []
        if facts.get("default") not in (None, []):
            about.append(f"by default {facts['default']}")
        options.add_argument(
            option,
            dest=setting,
            choices=choices,
            metavar=None if choices else _metavar(option, facts["type"]),
            help=facts["description"] + (f" ({'; '.join(about)})" if about else ""),
        )


def option_of(setting: str) -> str:
    """How the command lines call a setting: `train.seed` is `--seed`, `model.name` is `--model`."""
    section, _, name = setting.rpartition(".")
    if setting == "data.items.path":
        return "--items"
    return f"--{section if name == 'name' else name}"


def _metavar(option: str, kind: str) -> str:
    usual = {"integer": "N", "number": "X", "array": "A,B"}
    return usual.get(kind, re.split("[-_]", option)[-1].upper())


def add_data_options(parser: argparse.ArgumentParser, one_seed: bool = True) -> None:
    """Adds the options that say which interactions to use and how to configure a run.

    Args:
        parser: of the command line.
        one_seed: whether `--seed` is a setting; who trains with several has an option of its own,
            and finds in `args.seed` what to refuse.
    """
    data = parser.add_argument_group("data")
    add_settings(
        data,
        *("data.dataset", "data.raw_dir", "data.release", "data.categories", "data.path"),
        *("data.items.path", "data.data_dir", "data.engine"),
    )
    run = parser.add_argument_group("settings")
    run.add_argument(
        "--config",
        type=path_option,
        metavar="FILE",
        help="YAML settings, a file or the name of one in configs/ (default: by dataset), which "
        "stand in place of the defaults that are given here",
    )
    run.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change one setting, e.g. --set model.dim=32; may be repeated",
    )
    run.add_argument("--quiet", action="store_true", help="print errors only")
    if one_seed:
        add_settings(run, "train.seed")
    else:
        run.add_argument("--seed", help=argparse.SUPPRESS)
    add_settings(run, "train.epochs")


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
    for setting, value in vars(args).items():
        if "." in setting and value is not None:  # of `add_settings`
            source = f"{option_of(setting)} {value}"
            several = schema()[setting]["type"] == "array"
            overrides.append((setting, value.split(",") if several else value, source))
            if setting == "train.epochs" and vars(args).get("train.init_from"):
                overrides[-1] = ("train.init_epochs", value, source)
            elif setting == "train.epochs":  # as many and no more, however little data there is
                overrides.append(("train.min_steps", 0, source))
    overrides += [*map(config_module.parse_set, args.settings), *more]
    named = [value for key, value, _ in overrides if key == "data.dataset"]
    default = "synthetic" if not named or named[-1] == "synthetic" else "amazon"
    path = default_file or config_module.shipped(default)
    if args.config:
        path = args.config
        if not path.exists():
            shipped = config_module.shipped(path.stem)
            if path.name != str(path) or not shipped.is_file():
                names = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
                raise InputError(
                    f"--config {args.config}: no such file, and none of configs/: {names}"
                )
            path = shipped
    return config_module.load(path, overrides)


def check_files(config: Config) -> None:
    """Says that the data is not there before TensorFlow, which reads it, is loaded.

    Raises:
        InputError: no such file or folder, or settings of data that do not fit one another.
    """
    from data_prep.read.items.item_file import locate_items
    from data_prep.read.locate import locate

    config.data.check()
    locate(config.data)
    locate_items(config.data)


def prepare_data(config: Config, report: Callable[[str], None] | None = say) -> "PreparedDataset":
    """Prepares, or finds prepared, the dataset that a configuration names; tells each step."""
    check_files(config)
    load_tensorflow()
    from data_prep import prepare

    prepared = prepare(config.data, report=report)
    _prepared[:] = [prepared]
    return prepared


def find_data(
    config: Config, name: str, report: Callable[[str], None] | None = say
) -> "PreparedDataset | None":
    """The dataset of that name, if it is still on disk, its log or not."""
    load_tensorflow()
    from data_prep.preparation import find_prepared

    prepared = find_prepared(config.data, name, report)
    if prepared is not None:
        _prepared[:] = [prepared]
    return prepared
