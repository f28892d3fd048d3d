"""Fills a store of histories: `python -m serving.fill_histories --run DIR --histories STORE`.

A service then adds what happens from now on, and asks `Client.recommend_user`: docs/histories.md.
"""

import contextlib
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import InputError
from serving.histories import StoreError, open_histories
from serving.histories.address import ADDRESSES
from serving.histories.store import KEEP
from tf_syncrec.cli import (
    Parser,
    find_data,
    load_tensorflow,
    number_option,
    path_option,
    run_command,
    say,
)
from tf_syncrec.config import Config
from tf_syncrec.recommending.chosen_log import add_settings_of_data, chosen_log, content_of

if TYPE_CHECKING:
    from data_prep import PreparedDataset

TIMEOUT = 30.0
"""Seconds; nobody waits for it as for an answer."""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m serving.fill_histories",
        description="Write the histories of all users of a log into a store for serving.",
        examples=[
            "--run runs/shop --histories histories.db",
            "--input today.csv --histories redis://localhost:6379/0 --expire_days 30",
        ],
        notes="After an interruption the same command resumes. docs/histories.md describes the "
        "store.",
    )
    add = parser.add_argument
    add(
        "--run",
        type=path_option,
        metavar="DIR",
        help="a run: the log that it was trained on, or the prepared dataset where that is gone",
    )
    add(
        "--input",
        type=path_option,
        metavar="LOG",
        help="a log of the form of --dataset interactions; with --run, read as its log was",
    )
    add("--histories", required=True, metavar="STORE", help=ADDRESSES)
    whole = number_option(int, lambda value: value > 0, "a whole number above 0")
    days = number_option(float, lambda value: 0 < value < math.inf, "a number above 0")
    add("--keep", type=whole, default=KEEP, metavar="N", help=f"events to keep per user ({KEEP})")
    add(
        "--expire_days",
        type=days,
        metavar="X",
        help="Redis: days without an event after which a history expires (90)",
    )
    add(
        "--work_dir",
        type=path_option,
        default=Path("histories.filling"),
        metavar="DIR",
        help="temporary folder of the sorted log, until all is written (histories.filling)",
    )
    add_settings_of_data(parser)
    add("--quiet", action="store_true", help="print errors only")
    args = parser.parse_args(argv)
    if args.run is None and args.input is None:
        raise InputError("give --run or --input")
    try:
        histories = open_histories(args.histories, args.keep, args.expire_days, TIMEOUT)
        histories.mark("")  # it is there, before a log is read
    except (ValueError, StoreError) as error:
        raise InputError(f"--histories: {error}") from None
    config = chosen_log(args.run, args.input, args.of_data)

    from data_prep.fingerprint import fingerprint
    from data_prep.log_histories import write_histories
    from serving.histories.fill import fill
    from tf_syncrec.utils.locks import RunLock

    prepared = None
    try:
        content = content_of(config.data, args.run, args.input)
    except InputError as error:
        if args.input is not None or (prepared := _prepared(args.run, config)) is None:
            raise
        say(f"{error} The prepared dataset is read: {prepared.name}.")
        content = {"prepared": prepared.name}
    name = fingerprint(content)
    folder = args.work_dir / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--work_dir {args.work_dir}: {error.strerror}") from None
    lock = RunLock(folder)
    if holder := lock.take():
        raise InputError(f"--work_dir {args.work_dir}: {holder} is writing the same log from there")
    try:
        file = folder / "histories.arrow"
        if not file.exists():
            if prepared is None:
                write_histories(config.data, file, say)
            else:
                from serving.histories.prepared import write_prepared

                write_prepared(prepared, file)
        fill(histories, file, name, say)
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # it has folders of other logs
            args.work_dir.rmdir()
    except StoreError as error:
        raise InputError(f"--histories: {error}; the same command resumes") from None
    finally:
        lock.release()
        histories.close()


def _prepared(run: Path, config: Config) -> "PreparedDataset | None":
    """The dataset that a run was trained on, if it is still on disk."""
    load_tensorflow()
    from tf_syncrec.training.run_directory import RunDirectory

    directory = RunDirectory(run)
    name = directory.read_json(directory.metrics_file)["protocol"]["dataset"]
    return find_data(config, name)


if __name__ == "__main__":
    run_command(main)
