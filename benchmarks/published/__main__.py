"""The untouched default on the sets that everybody publishes on, beside what was published.

    python -m benchmarks.published --data DIR [--sets s3rec,abxi] [--seeds 0,1,2,3,4]

`DIR` holds the files as their authors distribute them, see docs/published.md. Every model is
trained as `fit` does it, ranks all test targets, and is shown under the protocol of the published
table; where that draws negatives, by the mean over all draws, beside a draw that has to agree.
Writes `published.json`, `published.md` and `published.png`. What is finished is kept: the same
command goes on where it was stopped.
"""

import json
from pathlib import Path

from benchmarks.published.measure import measure
from benchmarks.published.sets import SETS
from benchmarks.published.tables import (
    NUMBERS,
    cost_table,
    domain_table,
    drawn_table,
    picture,
    summary,
)
from data_prep import InputError
from data_prep.files import write_whole, written_whole
from tf_syncrec.cli import Parser, path_option, run_command, say
from tf_syncrec.comparison.names import parse_name


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m benchmarks.published",
        description="Measure models on published benchmark sets, beside the published numbers.",
        examples=["--data DIR", "--data DIR --sets s3rec --models syncrec,sasrec --seeds 0,1"],
    )
    parser.add_argument("--data", type=path_option, required=True, metavar="DIR")
    parser.add_argument("--sets", default=",".join(SETS), metavar="A,B", help="default: all")
    parser.add_argument(
        "--models", default="syncrec,sasrec,item_knn,user_knn,popularity", metavar="A,B"
    )
    parser.add_argument("--seeds", default="0", metavar="A,B", help="of networks; default: 0")
    parser.add_argument(
        "--set",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="change a setting; then it is the default no longer",
    )
    parser.add_argument(
        "--data_dir", type=path_option, metavar="DIR", help="of prepared data, as of `fit`"
    )
    parser.add_argument("--output_dir", type=path_option, default="runs/published", metavar="DIR")
    args = parser.parse_args(argv)
    models, seeds, output = args.models.split(","), args.seeds.split(","), Path(args.output_dir)
    for model in models:
        parse_name(model)
    if unknown := [name for name in args.sets.split(",") if name not in SETS]:
        raise InputError(f"--sets: unknown {unknown[0]!r}; known: {', '.join(SETS)}")
    if wrong := [seed for seed in seeds if not seed.isdigit()]:
        raise InputError(f"--seeds: expected whole numbers, received {wrong[0]!r}")
    options = [word for setting in args.settings for word in ("--set", setting)]
    options += ["--data_dir", str(args.data_dir)] if args.data_dir else []
    chosen = [one for name in args.sets.split(",") for one in SETS[name]]

    output.mkdir(parents=True, exist_ok=True)
    for one in chosen:  # a missing file is told now and not in hours
        one.write_log(Path(args.data), output / f"{one.name}.tsv")
    found = []
    for number, one in enumerate(chosen, 1):
        say(f"[{number}/{len(chosen)}] {one.name}: {args.models}, seeds {args.seeds}")
        measured = measure(one, Path(args.data), output, models, seeds, options)
        about = {"name": one.name, "table": one.table, "negatives": one.negatives}
        found.append(about | {"models": measured})
        written = _write(output, found, models)
    say()
    say(written)
    for name in ("published.md", "published.json", "published.png"):
        say(str(output / name))


def _write(output: Path, found: list[dict], models: list[str]) -> str:
    """Everything so far as files; what `published.md` holds."""
    parts = [summary(found, models[0])]
    for each in found:
        among = f"{each['negatives']} drawn items" if each["negatives"] else "all items"
        parts.append(
            f"## {each['name']}, among {among}\n\nPublished: {NUMBERS[each['table']]['from']}."
        )
        measured = each["models"]
        domains = next(iter(measured.values()))["domains"]
        parts += [domain_table(each["table"], domain, measured) for domain in domains]
        parts.append(cost_table(measured))
        parts += [
            f"{model}, its first seed:\n\n{drawn_table(of['drawn'], each['negatives'])}"
            for model, of in measured.items()
            if "drawn" in of
        ]
    text = "\n\n".join(parts) + "\n"
    write_whole(output / "published.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_whole(output / "published.md", text)
    with written_whole(output / "published.png") as new:
        picture(found).savefig(new, dpi=130, format="png")
    return text


if __name__ == "__main__":
    run_command(main)
