"""Answers for everybody: `python -m tf_syncrec.recommend --run runs/NAME --output recs.parquet`.

Reads all that every user of a log did, asks the exported model as a server would be asked, and
writes `user_id, domain, rank, item_id, score, fallback`: k rows a user and domain, best first. What
is finished is kept until all is: the same command goes on where it was stopped.
"""

import argparse
import dataclasses
from pathlib import Path

from data_prep.errors import InputError
from tf_syncrec.cli import (
    Parser,
    load_tensorflow,
    moment_option,
    path_option,
    run_command,
    say,
)
from tf_syncrec.recommending.chosen_log import add_settings_of_data, chosen_log, content_of


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.recommend",
        description="Recommend to every user of a log, in every domain, without a server.",
        examples=[
            "--run runs/shop --output recs.parquet",
            "--run runs/shop --input today.csv --domains books,films --k 20 --output recs.parquet",
            "--export_dir runs/shop/export/syncrec --input today.csv --output recs",
            "--run runs/shop --deny sold_out.csv --items items.csv --at_most brand=2 --output recs",
        ],
        notes="Columns of the output, and speed: docs/batch.md.",
    )
    model = parser.add_argument_group("model, one of")
    model.add_argument("--run", type=path_option, metavar="DIR", help="a run; its newest export")
    model.add_argument(
        "--export_dir", type=path_option, metavar="DIR", help="directory of versions; the newest"
    )
    parser.add_argument(
        "--input",
        type=path_option,
        metavar="LOG",
        help="histories: a log of the form of --dataset interactions; default: all of the log that "
        "the run was trained on",
    )
    parser.add_argument(
        "--output",
        type=path_option,
        required=True,
        metavar="FILE",
        help="a .parquet file; any other name is a folder of them",
    )
    parser.add_argument(
        "--k", type=int, default=10, metavar="N", help="items per user and domain (10)"
    )
    parser.add_argument("--domains", metavar="A,B", help="some domains; default: all")
    parser.add_argument(
        "--now",
        type=_time,
        metavar="TIME",
        help="when the answers are wanted: ISO 8601, or a number in the log's unit. It matters "
        "where people come back to what they had, and of a run with model.time_inputs",
    )
    chosen = parser.add_argument_group("what may be recommended (CSV, TSV, Parquet; item_id)")
    chosen.add_argument("--allow", type=path_option, metavar="FILE", help="these items alone")
    chosen.add_argument("--deny", type=path_option, metavar="FILE", help="not these items")
    chosen.add_argument(
        "--items", type=path_option, metavar="FILE", help="items file, for --at_most"
    )
    chosen.add_argument(
        "--at_most",
        metavar="COLUMN=N",
        help="no more than N items with one value in that column of --items, to a user in a domain",
    )
    chosen.add_argument(
        "--candidates",
        type=int,
        default=100,
        metavar="N",
        help="size of the candidate list that --at_most filters (100)",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--engine",
        choices=("duckdb", "spark"),
        help="engine: duckdb, on this machine, or spark, on its workers, into a folder (default: "
        "the one that prepared the data of --run, else duckdb)",
    )
    add_settings_of_data(parser)
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    args = parser.parse_args(argv)
    if (args.run is None) == (args.export_dir is None):
        raise InputError("give either --run or --export_dir")
    if args.processes < 1:
        raise InputError(f"--processes {args.processes}: expected 1 or more")
    if args.run is None and args.input is None:
        raise InputError(
            "--export_dir: an export has no users; give their histories as --input LOG"
        )
    config = chosen_log(args.run, args.input, args.of_data, args.engine)
    if config.data.engine == "spark":
        _check_for_spark(args)
    content = content_of(config.data, args.run, args.input)

    load_tensorflow()
    from data_prep.fingerprint import file_digest, fingerprint
    from serving.saved_model.version_folders import newest_version
    from tf_syncrec.recommending.everybody import recommend_everybody
    from tf_syncrec.recommending.filters import Choice
    from tf_syncrec.recommending.on_spark import recommend_on_spark
    from tf_syncrec.recommending.parts import Request
    from tf_syncrec.recommending.served_model import ServedModel
    from tf_syncrec.training.run_directory import RunDirectory

    choice = Choice.read(args.allow, args.deny, args.items, args.at_most, args.candidates)
    version = newest_version(args.export_dir or RunDirectory(args.run).export_dir).absolute()
    served = ServedModel(version)
    domains = args.domains.split(",") if args.domains else []
    domains = served.check(domains, args.k)
    if choice.asked(args.k) != args.k:
        served.check(domains, choice.candidates, "--candidates")
    request = Request(
        version=str(version),
        # Of the graph, and of the checksums of all weights.
        fingerprint=fingerprint(
            {
                name: file_digest(version / name)
                for name in ("saved_model.pb", "variables/variables.index")
            }
        ),
        log=content,
        domains=domains,
        k=args.k,
        now=args.now or "",
        choice="" if choice == Choice() else fingerprint(dataclasses.asdict(choice)),
    )
    here = config.data.engine != "spark" and args.processes == 1
    answering = served if here else None  # else each process has its own
    del served
    output = Path(args.output)
    if config.data.engine == "spark":
        recommend_on_spark(request, choice, config.data, output, say)
    else:
        recommend_everybody(answering, request, config.data, output, args.processes, say, choice)
    say(str(args.output))


def _check_for_spark(args: argparse.Namespace) -> None:
    if args.processes > 1:
        raise InputError(
            f"--processes {args.processes}: belongs to --engine duckdb; with spark its executors "
            "are the processes"
        )
    if args.output.suffix == ".parquet":
        raise InputError(
            f"--output {args.output}: with --engine spark it is a folder of files, whose name does "
            "not end with .parquet"
        )


def _time(text: str) -> str:
    """A time as it was given: what unit a number is in, the log says."""
    moment_option(text)
    return text


if __name__ == "__main__":
    run_command(main)
