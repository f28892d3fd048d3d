"""Scores a trained run: `python -m tf_syncrec.evaluate --run runs/NAME --split test`."""

import json

from data_prep import InputError
from tf_syncrec.cli import Parser, load_tensorflow, prepare_data, run_command, say
from tf_syncrec.evaluation.sampled import NEGATIVES, SAMPLED
from tf_syncrec.training.run_directory import Run
from tf_syncrec.utils.tables import metrics_table


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.evaluate",
        description="Rank every target of a split with a trained run.",
        examples=["--run runs/shop", "--run runs/shop --split validation"],
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="the run directory")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument(
        "--protocol",
        choices=("full", *SAMPLED),
        default="full",
        help=f"full: against all items of the target's domain; the others: against {NEGATIVES} "
        "drawn from them or from all domains, to stand beside published tables only",
    )
    args = parser.parse_args(argv)

    run = Run(args.run)
    run.check_finished()
    load_tensorflow()
    from tf_syncrec.data.batches import evaluation_batches
    from tf_syncrec.evaluation.ranking import ModelScorer, PopularityScorer, rank_split
    from tf_syncrec.evaluation.sampled.negatives_file import stored_negatives
    from tf_syncrec.evaluation.sampled.ranking import DRAWN_FROM, rank_sampled, sampled_protocol

    config, catalogue, model = run.load()
    prepared = prepare_data(config)
    trained_on = json.loads(run.metrics_file.read_text())["protocol"]["dataset"]
    if prepared.name != trained_on:
        raise InputError(
            f"--run {args.run}: its data has changed since the training: that was {trained_on}, "
            f"this is {prepared.name}"
        )
    batches = evaluation_batches(prepared, args.split, config.evaluate.batch_size)
    scorers = ModelScorer(model), PopularityScorer(catalogue)
    if args.protocol == "full":
        ranks = [rank_split(scorer, batches, catalogue, with_rows=False) for scorer in scorers]
        say(metrics_table(*(each.metrics(catalogue.domains) for each in ranks)))
        return
    negatives_file = run.directory / f"negatives_{args.protocol}_{args.split}.parquet"
    negatives = stored_negatives(negatives_file, prepared, args.split, args.protocol)
    ranks = [
        rank_sampled(scorer, batches, catalogue, negatives, with_rows=False) for scorer in scorers
    ]
    metrics, popularity = (each.metrics(catalogue.domains) for each in ranks)
    users, fewer, cold = len(ranks[0].ranks), negatives.users_with_fewer, ranks[0].cold
    say(
        f"{args.protocol}, {args.split}: against {NEGATIVES} sampled from "
        f"{DRAWN_FROM[args.protocol]}.\nTo stand beside published tables; not comparable with full "
        "ranking (docs/evaluation.md)."
    )
    say(metrics_table(metrics, popularity))
    if fewer:
        say(
            f"{fewer:,} of {users:,} users have fewer than {NEGATIVES} negatives: all items that "
            "are left to them."
        )
    # In a file of its own: what metrics.json holds is full ranking and nothing else.
    metrics_file = run.directory / f"metrics_{args.protocol}_{args.split}.json"
    protocol = sampled_protocol(args.protocol, prepared) | {
        "window": config.model.window,
        "score": config.model.score,
        "negatives": negatives_file.name,
        "users_with_fewer_negatives": fewer,
        "cold_target_share": {args.split: float(cold.mean()) if users else 0.0},
    }
    baselines = {"popularity": {args.split: popularity}}
    run.write_json(
        metrics_file, {"protocol": protocol, args.split: metrics, "baselines": baselines}
    )
    say(f"metrics:   {metrics_file}\nnegatives: {negatives_file}")


if __name__ == "__main__":
    run_command(main)
