"""Holds a bad night back: `python -m tf_syncrec.gate --candidate RUN --current RUN --test LOG`.

Exit code 0: may reach people. 3: held back, and every reason is named. 2: what was given cannot be
used, and nothing was judged.
"""

import argparse
import json
import sys

from data_prep.errors import InputError
from data_prep.files import write_whole
from tf_syncrec.cli import (
    Parser,
    load_tensorflow,
    moment_option,
    path_option,
    prepare_data,
    run_command,
    say,
)
from tf_syncrec.gate.limits import add_options, limits_from
from tf_syncrec.gate.log_settings import SAME_LOG, config_of_data, logs_of_questions
from tf_syncrec.recommending.chosen_log import add_settings_of_data

HELD_BACK = 3
"""Exit code."""

REQUESTS = 200
"""Of each run, of which the median is told."""

USERS = 100_000
"""Who are asked for at most: intervals are narrow then, and it takes minutes."""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line; SystemExit with `HELD_BACK` where the candidate is held back."""
    args = _parser().parse_args(argv)
    limits = limits_from(args)
    _check(args)
    config = config_of_data(args) if args.candidate is None else None
    logs = None if config else logs_of_questions(args)

    load_tensorflow()
    from tf_syncrec.gate.data_cards import Data
    from tf_syncrec.gate.judging import data_of, judge
    from tf_syncrec.run import Run

    current, candidate = Run(args.current), None
    if config is None:
        candidate = Run(args.candidate)
        data = data_of(candidate)
    else:
        prepared = prepare_data(config, say)
        data = Data(prepared.name, prepared.data_card, prepared.catalogue)
    report = judge(args, limits, current, data, candidate, logs)
    if args.output:
        write_whole(args.output, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        say(str(args.output))
    if not report["passed"]:
        sys.exit(HELD_BACK)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m tf_syncrec.gate",
        description="Decide whether a new run, or the log that it will be trained on, may replace "
        "the current one in production.",
        examples=[
            "--candidate_data today.csv --current runs/yesterday",
            "--candidate runs/today --current runs/yesterday --test later.csv",
            "--candidate runs/today --current runs/yesterday --test log.csv --since 2024-06-01 "
            "--output gate.json",
            "--candidate runs/today --current runs/yesterday --test later.csv --unseen",
        ],
        notes="Exit codes: 0 passed, 3 held back, 2 not checked (an error).\n"
        "The checks, and why: docs/gate.md.",
    )
    parser.add_argument(
        "--current",
        type=path_option,
        required=True,
        metavar="DIR",
        help="the run that is served now",
    )
    candidate = parser.add_argument_group("candidate, one of")
    candidate.add_argument(
        "--candidate",
        type=path_option,
        metavar="DIR",
        help="a run: checks its data and its recommendations",
    )
    candidate.add_argument(
        "--candidate_data",
        nargs="?",
        const=SAME_LOG,
        metavar="LOG",
        help="a log, before training: checks the data alone. It is prepared with the settings of "
        "the current run, and fit reuses the result. Without LOG: the log that those settings "
        "name",
    )
    questions = parser.add_argument_group("evaluation on later rows, with --candidate")
    questions.add_argument(
        "--test",
        type=path_option,
        metavar="LOG",
        help="later rows, a log of the form of --dataset interactions",
    )
    questions.add_argument(
        "--since",
        type=moment_option,
        metavar="TIME",
        help="time from which rows of --test are targets: ISO 8601, or a number in the unit of the "
        "log; default: its first row",
    )
    questions.add_argument(
        "--unseen",
        action="store_true",
        help="targets begin with the first row of --test that is later than the training data of "
        "both runs; the number of skipped rows is printed",
    )
    questions.add_argument(
        "--history",
        type=path_option,
        metavar="LOG",
        help="histories of users before that time; default: the log of the candidate",
    )
    questions.add_argument(
        "--k", type=int, default=10, metavar="N", help="length of the ranked lists (10)"
    )
    questions.add_argument(
        "--users", type=int, default=USERS, metavar="N", help=f"most users to evaluate ({USERS:,})"
    )
    questions.add_argument(
        "--requests",
        type=int,
        default=REQUESTS,
        metavar="N",
        help=f"requests to time, of each run ({REQUESTS}); 0: none",
    )
    parser.add_argument(
        "--now",
        type=moment_option,
        metavar="TIME",
        help="current time; rows of later days have wrong timestamps: ISO 8601, or seconds since "
        "1970; default: the clock of this machine",
    )
    parser.add_argument(
        "--output", type=path_option, metavar="FILE", help="write the result as JSON"
    )
    add_settings_of_data(parser, "data settings of LOG")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="hold back also where a domain has too few targets to tell",
    )
    parser.add_argument(
        "--all_checks", action="store_true", help="show also checks of domains that did not change"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    add_options(parser)
    return parser


def _check(args: argparse.Namespace) -> None:
    if (args.candidate is None) == (args.candidate_data is None):
        raise InputError("give either --candidate or --candidate_data")
    asked = {"--test": args.test, "--since": args.since, "--history": args.history}
    asked["--unseen"] = args.unseen or None
    if args.candidate is None:
        if given := [name for name, value in asked.items() if value is not None]:
            raise InputError(f"{given[0]}: needs --candidate; a log alone has no recommendations")
    elif args.test is None:
        raise InputError("--candidate: give the later rows that both are asked for, as --test LOG")
    if args.unseen and args.since is not None:
        raise InputError("--unseen: finds the moment; give it or --since, not both")
    for name, least in (("k", 1), ("users", 1), ("requests", 0)):
        if getattr(args, name) < least:
            raise InputError(f"--{name} {getattr(args, name)}: expected {least} or more")
    if args.output and args.output.is_dir():
        raise InputError(f"--output {args.output}: is a folder")
    if args.output and not args.output.absolute().parent.is_dir():
        raise InputError(f"--output {args.output}: there is no folder {args.output.parent}")


if __name__ == "__main__":
    run_command(main)
