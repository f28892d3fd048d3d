"""Compares models: `python -m tf_syncrec.compare --dataset amazon --models syncrec,item_knn`.

Trains every model with every seed on one dataset with one protocol, one cell after the other, and
writes `comparison.json`, `comparison.md` and pictures. What is finished is kept: the same command
goes on where it was stopped.
"""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import InputError
from tf_syncrec.baselines.recbole import check_interpreter, interpreter
from tf_syncrec.cli import Parser, add_data_options, config_from, prepare_data, run_command, say
from tf_syncrec.comparison import assemble
from tf_syncrec.comparison_report import write_comparison
from tf_syncrec.config import Config
from tf_syncrec.files import write_whole
from tf_syncrec.models import ABLATIONS, NETWORKS, RECBOLE, SCORERS, ModelName, parse_name
from tf_syncrec.tables import flat

PRESETS = {
    "negative_transfer": ("syncrec,syncrec_single,sasrec_cross,sasrec_single", "sasrec_single"),
    "ablation": (",".join(["syncrec", *ABLATIONS.values()]), "syncrec"),
    "main": (
        "syncrec,sasrec_cross,sasrec_single,gru4rec,bprmf,mmoe,cgrec,item_knn,popularity",
        "syncrec",
    ),
}
"""Sets of models by the question they answer, and what the others are measured against."""


class Cell(NamedTuple):
    """A model, a seed and, for single-domain models, a domain."""

    model: ModelName
    seed: int
    domain: str | None

    @property
    def title(self) -> str:
        """For progress lines."""
        return ", ".join(
            [
                self.model.text,
                *([f"seed {self.seed}"] if self.model.seeded else []),
                *([self.domain] if self.domain else []),
            ]
        )

    def directory(self, root: Path) -> Path:
        """Where it lives. Domains may have names that no file can have."""
        parts = [self.model.text.replace(":", "-"), f"seed{self.seed}"]
        if self.domain is not None:
            parts.append("domain-" + hashlib.sha256(self.domain.encode()).hexdigest()[:16])
        return root.joinpath("cells", *parts)

    def request(self, config: Config, dataset: str) -> dict[str, Any]:
        """What `cell.json` says: all that the result depends on."""
        changes = self.model.network.settings if self.model.network else {}
        settings = config.model_dump()
        settings["train"]["seed"] = self.seed
        if not self.model.base.startswith(RECBOLE):
            settings["recbole"] = {}  # nothing to this model
        for key, value in changes.items():
            section, name = key.split(".")
            settings[section][name] = value
        return {
            "model": self.model.text,
            "seed": self.seed,
            "domain": self.domain,
            "dataset": dataset,
            "config": settings,
        }


def cells_of(models: Sequence[ModelName], seeds: Sequence[int], domains: Sequence[str]):
    """All cells, seed by seed, so that a comparison that is stopped has whole seeds."""
    return [
        Cell(model, seed, domain)
        for seed in seeds
        for model in models
        if model.seeded or seed == seeds[0]
        for domain in (domains if model.single else [None])
    ]


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    # -------------------------------------------------------------------------------- settings
    parser = Parser(
        prog="python -m tf_syncrec.compare",
        description="Train and evaluate several models with one protocol.",
        epilog=f"models: {', '.join([*SCORERS, *NETWORKS])}, recbole:NAME; a network's name with "
        "_single is one model a domain. example: python -m tf_syncrec.compare --dataset "
        "interactions --path log.csv --preset negative_transfer",
        allow_abbrev=False,
    )
    add_data_options(parser)
    what = parser.add_argument_group("comparison")
    what.add_argument("--models", metavar="A,B", help="names of models")
    what.add_argument(
        "--preset",
        choices=PRESETS,
        help="in place of --models: negative_transfer (which of my domains are hurt?), ablation "
        "(the paper's Table 5), main (all baselines)",
    )
    what.add_argument("--seeds", default="0,1,2", metavar="A,B", help="default: 0,1,2")
    what.add_argument("--reference", metavar="MODEL", help="what the others are measured against")
    what.add_argument("--output_dir", metavar="DIR", help="default: runs/compare-DATASET")
    args = parser.parse_args(argv)
    if args.seed is not None:
        raise InputError(f"--seed {args.seed}: a comparison takes --seeds")
    models, reference = _models(args)
    seeds = _seeds(args.seeds)
    config = config_from(args)
    root = Path(args.output_dir or f"runs/compare-{config.data.dataset}")

    if any(model.base.startswith(RECBOLE) for model in models):
        check_interpreter(interpreter())

    # --------------------------------------------------------------------------------- cells
    prepared = prepare_data(config)
    cells = cells_of(models, seeds, prepared.catalogue.domains)
    requests = [cell.request(config, prepared.name) for cell in cells]
    for cell, request in zip(cells, requests, strict=True):
        _check_same(cell.directory(root), request)  # all of them, before hours of work
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {root}: cannot be created ({error.strerror})") from None
    for number, (cell, request) in enumerate(zip(cells, requests, strict=True), start=1):
        _run(cell, request, root, f"[{number}/{len(cells)}] {cell.title}")

    # ----------------------------------------------------------------------------- conclusions
    comparison = assemble(root, cells, reference, prepared, config)
    for file in write_comparison(root, comparison):
        say(str(file))


def _models(args) -> tuple[list[ModelName], str]:
    if (args.models is None) == (args.preset is None):
        raise InputError("give either --models or --preset")
    names, reference = PRESETS[args.preset] if args.preset else (args.models, None)
    texts = [text for text in names.split(",") if text]
    models = [parse_name(text) for text in texts]
    # NAME and NAME_cross are the same.
    if not models or len({(model.base, model.single) for model in models}) < len(models):
        raise InputError(f"--models takes names, each model once, received {names!r}")
    reference = args.reference or reference or texts[0]
    if reference not in texts:
        raise InputError(f"--reference {reference}: not among the models {', '.join(texts)}")
    return models, reference


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(f"--seeds takes whole numbers from 0, each once, received {text!r}")
    return seeds


def _check_same(directory: Path, request: dict[str, Any]) -> None:
    """Raises InputError if the directory holds a cell that something else was asked of."""
    file = directory / "cell.json"
    if not file.exists():
        return
    known, wanted = dict(flat(json.loads(file.read_text()))), dict(flat(request))
    for key in known | wanted:
        # Where the data lies may change; what it is, `dataset` says.
        if known.get(key) != wanted.get(key) and not key.startswith("config.data."):
            raise InputError(
                f"--output_dir: {directory} was made with {key.removeprefix('config.')} = "
                f"{known.get(key)!r}, now it is {wanted.get(key)!r}; choose another directory or "
                "delete it first"
            )


def _run(cell: Cell, request: dict[str, Any], root: Path, title: str) -> None:
    """Computes a cell in a process of its own, unless it is finished."""
    directory = cell.directory(root)
    if (directory / "result.json").exists():
        say(f"{title}: finished before")
        return
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / "cell.json", json.dumps(request, indent=1))
    start, last = time.perf_counter(), ""
    command = [sys.executable, "-m", "tf_syncrec.cell", str(directory)]
    with (
        (directory / "log.txt").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                if last := line.strip() or last:
                    say(f"{title}: {last}")
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        reason = last or f"exit code {process.returncode}"
        if process.returncode < 0:  # what it said last has nothing to do with it
            reason = f"ended by signal {-process.returncode} (9: killed, perhaps for its memory)"
        log_file = directory / "log.txt"
        sys.exit(f"error: {title} failed, the others were not begun; see {log_file}: {reason}")
    say(f"{title}: done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    run_command(main)
