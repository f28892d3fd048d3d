"""Trains a network: `python -m tf_syncrec.fit --dataset amazon --raw_dir DIR`.

The command line alone; `pipeline` has the story of a run.
"""

import datetime

from tf_syncrec.cli import (
    Parser,
    add_data_options,
    check_files,
    command_of,
    config_from,
    load_tensorflow,
    run_command,
    say,
)
from tf_syncrec.models.registry import with_network_settings
from tf_syncrec.training.resuming import (
    add_run_options,
    config_to_resume,
)


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.fit",
        description="Train a network on interactions of several domains, evaluate and export it.",
        examples=[
            "--dataset synthetic",
            "--dataset interactions --path log.csv --output_dir runs/shop",
            "--dataset interactions --path log.csv --set data.columns.user_id=customer",
            "--dataset interactions --path log.csv --model sasrec",
            "--resume --output_dir runs/shop",
        ],
        notes="Settings: configs/ and tf_syncrec/config.py; what a run leaves behind: docs/run.md.",
    )
    add_data_options(parser)
    parser.add_argument("--output_dir", metavar="DIR", help="default: runs/DATASET-DATE-TIME")
    add_run_options(parser)
    parser.add_argument(
        "--titles",
        metavar="FILE",
        help="CSV with the columns item_id and title, for the samples of the report",
    )
    args = parser.parse_args(argv)

    from tf_syncrec.report import sample_titles
    from tf_syncrec.training.run_directory import Run

    sample_titles(args.titles, [])  # a wrong file is told now and not in hours
    if args.resume:
        config, run = config_to_resume(args)
        if run.finished:
            say(f"{run.directory} is a finished run; there is nothing to go on with.")
            return
    else:
        config = with_network_settings(config_from(args))
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        run = Run(args.output_dir or f"runs/{config.data.dataset}-{now}")
        run.check_free()
    command = command_of("tf_syncrec.fit", argv)
    check_files(config)

    load_tensorflow()
    from tf_syncrec.distributed.cluster import cluster_of
    from tf_syncrec.pipeline import fit_run

    fit_run(
        config,
        run,
        command,
        cluster=cluster_of(args.workers, args.worker_index, config.train.strategy),
        patience=args.worker_patience,
        titles_file=args.titles,
        profile=args.profile,
    )


if __name__ == "__main__":
    run_command(main)
