"""Writes the report of a run again: `python -m tf_syncrec.report --run runs/NAME`.

With titles of items, or beside a comparison; `fit` writes the first one.
"""

from data_prep.errors import InputError
from tf_syncrec.cli import Parser, path_option, run_command, say
from tf_syncrec.reporting.html import read_json
from tf_syncrec.reporting.titles import sample_titles
from tf_syncrec.training.run_directory import RunDirectory


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.report",
        description="Write report.html of a finished run again.",
        examples=["--run runs/shop --titles titles.csv", "--run runs/shop --comparison runs/hurt"],
    )
    parser.add_argument(
        "--run", type=path_option, required=True, metavar="DIR", help="the run directory"
    )
    parser.add_argument(
        "--titles", type=path_option, metavar="FILE", help="CSV with the columns item_id and title"
    )
    parser.add_argument(
        "--comparison",
        type=path_option,
        metavar="DIR",
        help="of tf_syncrec.compare on the same data, with models of a single domain",
    )
    args = parser.parse_args(argv)
    run = args.run
    directory = RunDirectory(run)
    directory.check_whole()
    metrics = read_json(run / "metrics.json")
    if metrics is None:
        raise InputError(f"--run {run}: not a finished run, metrics.json is missing")
    comparison = None
    if args.comparison:
        if "test" not in metrics:
            raise InputError(
                f"--comparison {args.comparison}: has numbers of test targets, which the run "
                f"{run} left out (--no_test)"
            )
        comparison = read_json(args.comparison / "comparison.json")
        if comparison is None:
            raise InputError(f"--comparison {args.comparison}: comparison.json is missing")
        ours, theirs = (each["protocol"]["dataset"] for each in (metrics, comparison))
        if ours != theirs:
            raise InputError(
                f"--comparison {args.comparison}: is of other data: {theirs}, the run of {ours}"
            )
    shown = (read_json(file) or [] for file in (directory.samples_file, directory.new_items_file))
    titles = sample_titles(args.titles or directory.known_titles, *shown)

    from tf_syncrec.reporting.run_report import write_report

    say(f"report: {write_report(run, titles, comparison)}")


if __name__ == "__main__":
    run_command(main)
