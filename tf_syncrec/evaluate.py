"""Scores a trained run: `python -m tf_syncrec.evaluate --run runs/NAME --split test`."""

from data_prep.errors import InputError
from tf_syncrec.cli import Parser, load_tensorflow, path_option, run_command, say
from tf_syncrec.evaluation import ALL_DOMAINS, AT_REQUEST_TIME, NEXT_BASKET, TIMED, WITH_TIMES
from tf_syncrec.evaluation.sampled import MOST_NEGATIVES, NEGATIVES, SAMPLED, label_of
from tf_syncrec.reporting.terminal_tables import basket_table, metrics_table
from tf_syncrec.training.run_directory import RunDirectory


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.evaluate",
        description="Evaluate a trained run on a split: ranks every target.",
        examples=["--run runs/shop", "--run runs/shop --split validation"],
    )
    parser.add_argument(
        "--run", type=path_option, required=True, metavar="DIR", help="the run directory"
    )
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument(
        "--protocol",
        choices=("full", ALL_DOMAINS, *TIMED, NEXT_BASKET, *SAMPLED),
        default="full",
        help=f"full: against all items of the target's domain; {ALL_DOMAINS}: of every domain; "
        f"{WITH_TIMES}, {AT_REQUEST_TIME}: as full, by requests with the timestamps of "
        f"interactions, and with the request time too; {NEXT_BASKET}: all interactions at the "
        "target's time; the others: against sampled negatives, for comparison with published "
        "tables only",
    )
    parser.add_argument(
        "--negatives",
        type=int,
        metavar="N",
        help=f"number of sampled negatives per target; default: {NEGATIVES}",
    )
    args = parser.parse_args(argv)

    possible = args.negatives is None or 1 <= args.negatives <= MOST_NEGATIVES
    if not possible or (args.negatives and args.protocol not in SAMPLED):
        raise InputError(
            f"--negatives {args.negatives}: expected 1 to {MOST_NEGATIVES}, of --protocol "
            f"{' or '.join(SAMPLED)}"
        )
    count = args.negatives or NEGATIVES
    RunDirectory(args.run).check_finished()
    load_tensorflow()
    from tf_syncrec.evaluation.sampled.sampled_ranking import DRAWN_FROM
    from tf_syncrec.run import Run

    run, split = Run(args.run), args.split
    found = run.evaluate_split(split, args.protocol, say, count)

    def keep() -> None:
        """In a file of its own: what metrics.json holds was measured when the run ended."""
        metrics_file = run.directory / f"metrics_{label_of(args.protocol, count)}_{split}.json"
        run.write_json(metrics_file, found)
        say(f"metrics:   {metrics_file}")

    if args.protocol == NEXT_BASKET:
        tables = {"": found, **{told: found[told] for told in TIMED}} | found["baselines"]
        say(basket_table({name: table[split] for name, table in tables.items()}))
        if left_out := found[split]["users_left_out"]:
            say(f"{left_out:,} users without earlier interactions are left out.")
        keep()
        return
    table = metrics_table(found[split], found["baselines"]["popularity"][split])
    if args.protocol == "full":
        say(table)
        return
    if args.protocol in TIMED:
        say(f"{args.protocol}, {split}: {found['protocol']['times']}.")
        say(table)
        keep()
        return
    if args.protocol == ALL_DOMAINS:
        say(f"{args.protocol}, {split}: against the trained items of all domains.")
        say(table)
        before = found["baselines"]["uncalibrated"][split]["overall"]
        say(f"Without calibration of scores across domains: NDCG@10 {before['ndcg@10']:.4f}.")
        keep()
        return
    say(
        f"{args.protocol}, {split}: against {count} sampled from "
        f"{DRAWN_FROM[args.protocol]}.\nFor comparison with published tables; not comparable with "
        "full ranking (docs/evaluation.md)."
    )
    say(table)
    if fewer := found["protocol"]["users_with_fewer_negatives"]:
        say(
            f"{fewer:,} of {found[split]['overall']['users']:,} users have fewer than {count} "
            "negatives: all candidates that remain."
        )
    if "expected" in found:
        drawn = found[split]["overall"]["ndcg@10"]
        mean = found["expected"][split]["overall"]["ndcg@10"]
        say(f"NDCG@10 of this draw {drawn:.4f}, on average over all draws {mean:.4f}.")
    keep()
    say(f"negatives: {run.negatives_file(split, args.protocol, count)}")


if __name__ == "__main__":
    run_command(main)
