"""Compares models: `python -m tf_syncrec.compare --dataset amazon --models syncrec,item_knn`.

Trains every model with every seed on one dataset with one protocol, one cell after the other, and
writes `report.html`, `comparison.json`, `comparison.md`, `ranks.parquet` and pictures. With
`--grid`, settings are chosen for every network first. What is finished is kept: the same command
goes on where it was stopped, and several of them at once share the work.
"""

from pathlib import Path

from data_prep.errors import InputError
from tf_syncrec.cli import (
    Parser,
    add_data_options,
    check_files,
    command_of,
    config_from,
    load_tensorflow,
    path_option,
    prepare_data,
    run_command,
    say,
)
from tf_syncrec.comparison.grid_search import read_grid
from tf_syncrec.comparison.libraries.library import LIBRARIES
from tf_syncrec.comparison.names import about_models
from tf_syncrec.comparison.plan import check_library, read_plan
from tf_syncrec.comparison.presets import (
    PRESETS,
    Preset,
    by_reason,
    leave_out,
    missing_here,
    missing_in,
)
from tf_syncrec.reporting.terminal_tables import comparison_table
from tf_syncrec.utils.terminal import width


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    # -------------------------------------------------------------------------------- settings
    models = "\n  ".join(f"{name:24} {about}" for name, about in about_models())
    parser = Parser(
        prog="python -m tf_syncrec.compare",
        description="Train and evaluate several models with one protocol.",
        examples=[
            "--dataset interactions --path log.csv --preset negative_transfer",
            "--dataset interactions --path log.csv --models syncrec,item_knn --seeds 0,1",
        ],
        notes=f"models:\n  {models}",
    )
    add_data_options(parser, one_seed=False)
    what = parser.add_argument_group("comparison")
    what.add_argument(
        "--models",
        metavar="A,B",
        help="names of models; NAME@0 or NAME@0+1 has seeds of its own instead of --seeds",
    )
    what.add_argument(
        "--preset",
        choices=PRESETS,
        help="instead of --models: "
        + ", ".join(f"{name} ({preset.question})" for name, preset in PRESETS.items()),
    )
    what.add_argument("--seeds", metavar="A,B", help="default: 0,1,2; of the paper's presets 0")
    what.add_argument(
        "--grid",
        metavar="KEY=V1,V2",
        action="append",
        default=[],
        help="grid search, e.g. --grid model.dim=32,64; may be repeated for the product. The best "
        "on validation is chosen for every network (of a _single: every domain), with its first "
        "seed",
    )
    what.add_argument("--reference", metavar="MODEL", help="baseline of the significance tests")
    what.add_argument(
        "--output_dir", type=path_option, metavar="DIR", help="default: runs/compare-DATASET"
    )
    args = parser.parse_args(argv)
    if args.seed is not None:
        raise InputError(f"--seed {args.seed}: a comparison takes --seeds")
    if (args.models is None) == (args.preset is None):
        raise InputError("give either --models or --preset")
    preset = PRESETS[args.preset] if args.preset else Preset("", (args.models,), None)
    for option, value in preset.options.items():
        if option not in vars(args):  # what is given by --set, before what the user gives by it
            args.settings = [f"{option}={value}", *args.settings]
        elif getattr(args, option) is None:
            setattr(args, option, value)
    plan, reference = read_plan(
        ",".join(preset.models),
        preset.seeds if args.seeds is None else args.seeds,
        preset.reference if args.reference is None else args.reference,
    )
    config = config_from(args)
    if config.train.init_from:
        raise InputError(
            f"train.init_from: {config.train.init_from}: only fit has a warm start; compare "
            "trains from scratch"
        )
    names, points = read_grid(args.grid, lambda more: config_from(args, more))
    if points and not any(model.network for model in plan):
        texts = ", ".join(model.text for model in plan)
        raise InputError(f"--grid {args.grid[0]}: tunes networks, of which {texts} are none")
    root = Path(args.output_dir or f"runs/compare-{config.data.dataset}")
    left_out: dict[str, str] = {}
    if args.preset:
        left_out = missing_here(plan, config)
        plan = leave_out(plan, reference, left_out)
    else:
        for library in LIBRARIES:
            check_library(library, plan, config)
    check_files(config)

    load_tensorflow()
    from tf_syncrec.comparison.runner import run_comparison
    from tf_syncrec.reporting.comparison_report import histories, write_comparison

    prepared = prepare_data(config)
    if args.preset:
        left_out |= missing_in(plan, prepared.catalogue.domains)
        plan = leave_out(plan, reference, left_out)
    reasons = by_reason(left_out)
    for why, missing in reasons.items():
        say(f"--preset {args.preset}: leaves out {', '.join(missing)}: {why}")
    comparison, ranks, cells = run_comparison(
        root, plan, reference, (names, points), config, prepared
    )
    comparison["command"] = command_of("tf_syncrec.compare", argv)
    comparison["left_out"] = reasons
    files = write_comparison(root, comparison, ranks, histories(root, cells))

    say()
    say(comparison_table(comparison, width()))
    for text, table in comparison["negative_transfer"].items():
        say()
        for verdict in ("hurt", "helped"):
            found = [name for name, row in table["domains"].items() if row["verdict"] == verdict]
            say(f"{text}, {verdict} by the other domains: {', '.join(found) or 'none for certain'}")
        if text in comparison["negative_transfer_with_votes"]:
            say(
                f"{text}: by the network's score alone; the table above adds the terms fitted later"
            )
    say()
    for file in files:
        say(str(file))


if __name__ == "__main__":
    run_command(main)
