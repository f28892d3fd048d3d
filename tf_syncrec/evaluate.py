"""Scores a trained run: `python -m tf_syncrec.evaluate --run runs/NAME --split test`."""

import json

from data_prep import InputError
from tf_syncrec.cli import Parser, prepare_data, run_command, say
from tf_syncrec.data import evaluation_batches
from tf_syncrec.ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.run import Run
from tf_syncrec.tables import metrics_table


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.evaluate",
        description="Rank every target of a split with a trained run.",
        allow_abbrev=False,
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="the run directory")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    args = parser.parse_args(argv)

    run = Run(args.run)
    config, catalogue, model = run.load()
    prepared = prepare_data(config)
    trained_on = json.loads(run.metrics_file.read_text())["protocol"]["dataset"]
    if prepared.name != trained_on:
        raise InputError(
            f"--run {args.run}: its data has changed since the training: that was {trained_on}, "
            f"this is {prepared.name}"
        )
    batches = evaluation_batches(prepared, args.split, config.evaluate.batch_size)
    model_metrics, popularity = (
        rank_split(scorer, batches, catalogue, with_rows=False).metrics(catalogue.domains)
        for scorer in (ModelScorer(model), PopularityScorer(catalogue))
    )
    say(metrics_table(model_metrics, popularity))


if __name__ == "__main__":
    run_command(main)
