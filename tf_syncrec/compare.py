"""Compares models: `python -m tf_syncrec.compare --dataset amazon --models syncrec,item_knn`.

Trains every model with every seed on one dataset with one protocol, one cell after the other, and
writes `report.html`, `comparison.json`, `comparison.md`, `ranks.parquet` and pictures. With
`--grid`, settings are chosen for every network first. What is finished is kept: the same command
goes on where it was stopped, and several of them at once share the work.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import InputError
from data_prep.files import write_whole
from tf_syncrec.cli import (
    Parser,
    add_data_options,
    check_files,
    command_of,
    config_from,
    load_tensorflow,
    prepare_data,
    run_command,
    say,
)
from tf_syncrec.comparison.cells import RESULT, VALIDATION, Cell, cells_of
from tf_syncrec.comparison.grid import read_grid
from tf_syncrec.comparison.names import RECBOLE, ModelName, about_models, parse_name
from tf_syncrec.comparison.recbole.bridge import check_interpreter, interpreter, settings_of
from tf_syncrec.models.registry import ABLATIONS, FULL
from tf_syncrec.utils.locks import RunLock
from tf_syncrec.utils.tables import comparison_table, flat
from tf_syncrec.utils.terminal import width

PRESETS = {
    "negative_transfer": ("syncrec,syncrec_single,sasrec_cross,sasrec_single", "sasrec_single"),
    "ablation": (",".join([FULL, *ABLATIONS.values()]), FULL),
    "main": (
        "syncrec,sasrec_cross,sasrec_single,gru4rec,bprmf,mmoe,cgrec,item_knn,popularity",
        "syncrec",
    ),
}
"""Sets of models by the question they answer, and what the others are measured against."""
SECONDS_BETWEEN_LOOKS = 5.0
"""How often one comparison looks whether another has finished a cell."""


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
        help="names of models; NAME@0 or NAME@0+1 has seeds of its own in place of --seeds",
    )
    what.add_argument(
        "--preset",
        choices=PRESETS,
        help="in place of --models: negative_transfer (which of my domains are hurt?), ablation "
        "(the paper's Table 5), main (all baselines)",
    )
    what.add_argument("--seeds", default="0,1,2", metavar="A,B", help="default: 0,1,2")
    what.add_argument(
        "--grid",
        metavar="KEY=V1,V2",
        action="append",
        default=[],
        help="values to try, e.g. --grid model.dim=32,64; may be repeated, the product is tried. "
        "For every network (of a _single: every domain) the best on validation with its first seed "
        "is chosen",
    )
    what.add_argument("--reference", metavar="MODEL", help="what the others are measured against")
    what.add_argument("--output_dir", metavar="DIR", help="default: runs/compare-DATASET")
    args = parser.parse_args(argv)
    if args.seed is not None:
        raise InputError(f"--seed {args.seed}: a comparison takes --seeds")
    plan, reference = _plan(args)
    config = config_from(args)
    names, points = read_grid(args.grid, lambda more: config_from(args, more))
    if points and not any(model.network for model in plan):
        texts = ", ".join(model.text for model in plan)
        raise InputError(f"--grid {args.grid[0]}: tunes networks, of which {texts} are none")
    root = Path(args.output_dir or f"runs/compare-{config.data.dataset}")

    of_recbole = [m.base.removeprefix(RECBOLE) for m in plan if m.base.startswith(RECBOLE)]
    if of_recbole:
        check_interpreter(
            interpreter(), {name: settings_of(name, config.recbole) for name in of_recbole}
        )
    check_files(config)

    load_tensorflow()
    from tf_syncrec.comparison.results import assemble, rank_table, read_ranks
    from tf_syncrec.comparison.tuning import choose, trials_of, tuning_report, validation_metric
    from tf_syncrec.reporting.comparison_page import histories
    from tf_syncrec.reporting.comparison_tables import write_comparison

    # ------------------------------------------------------------------------ data and directory
    prepared = prepare_data(config)
    domains = prepared.catalogue.domains
    trials = trials_of(plan, domains, points)
    # Whatever will be chosen: all of them are looked at before hours of work.
    possible = [
        trial._replace(seed=seed) for trial in chain(*trials.values()) for seed in plan[trial.model]
    ]
    untuned = [cell for cell in cells_of(plan, domains) if (cell.model, cell.domain) not in trials]
    for cell in [*possible, *untuned]:
        _check_same(cell.directory(root), cell.request(config, prepared.name))
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {root}: cannot be created ({error.strerror})") from None

    # --------------------------------------------------------------------------------- tuning
    total = sum(map(len, trials.values()))
    _run_all(
        root,
        [
            _Job(trial, trial.request(config, prepared.name), f"[trial {number}/{total}]", True)
            for number, trial in enumerate(chain(*trials.values()), start=1)
        ],
    )
    chosen = choose(root, trials)
    for best in chosen.values():
        say(f"chosen: {best.title}: validation NDCG@10 {validation_metric(root, best):.4f}")

    # --------------------------------------------------------------------------------- cells
    cells = cells_of(plan, domains, {place: best.settings for place, best in chosen.items()})
    _run_all(
        root,
        [
            _Job(cell, cell.request(config, prepared.name), f"[{number}/{len(cells)}]")
            for number, cell in enumerate(cells, start=1)
        ],
    )

    # ----------------------------------------------------------------------------- conclusions
    tuning = tuning_report(root, trials, cells, names, config)
    ranks = read_ranks(root, cells)
    comparison = assemble(root, cells, ranks, reference, prepared, config) | {
        "tuning": tuning,
        "command": command_of("tf_syncrec.compare", argv),
        "data_card": prepared.data_card,
    }
    files = write_comparison(root, comparison, rank_table(ranks), histories(root, cells))
    say()
    say(comparison_table(comparison, width()))
    for text, table in comparison["negative_transfer"].items():
        say()
        for verdict in ("hurt", "helped"):
            found = [name for name, row in table["domains"].items() if row["verdict"] == verdict]
            say(f"{text}, {verdict} by the other domains: {', '.join(found) or 'none for certain'}")
    say()
    for file in files:
        say(str(file))


def _plan(args) -> tuple[dict[ModelName, tuple[int, ...]], str]:
    """The seeds of each model, and what the others are measured against."""
    if (args.models is None) == (args.preset is None):
        raise InputError("give either --models or --preset")
    names, reference = PRESETS[args.preset] if args.preset else (args.models, None)
    shared = _seeds(args.seeds, ",", f"--seeds {args.seeds}")
    plan: dict[ModelName, tuple[int, ...]] = {}
    for text in filter(None, names.split(",")):
        name, at, own = text.partition("@")
        model = parse_name(name)
        if at and not model.seeded:
            raise InputError(f"--models {text}: {name} takes no seeds, chance has no part in it")
        seeds = _seeds(own, "+", f"--models {text}") if at else shared
        # NAME and NAME_cross are the same.
        if (model.base, model.single) in {(known.base, known.single) for known in plan}:
            raise InputError(f"--models takes each model once, received {names!r}")
        plan[model] = seeds if model.seeded else seeds[:1]
    if not plan:
        raise InputError(f"--models takes names, received {names!r}")
    texts = [model.text for model in plan]
    reference = args.reference or reference or texts[0]
    if reference not in texts:
        raise InputError(f"--reference {reference}: not among the models {', '.join(texts)}")
    return plan, reference


def _seeds(text: str, separator: str, source: str) -> tuple[int, ...]:
    """Seeds of the command line; an error names the source."""
    try:
        seeds = tuple(int(seed) for seed in text.split(separator))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise InputError(
            f"{source}: seeds are whole numbers from 0, each once, joined by {separator!r}, "
            f"received {text!r}"
        )
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


class _Job(NamedTuple):
    """A cell to compute.

    Attributes:
        cell: what is computed.
        request: what its `cell.json` says.
        number: of how many, for progress lines.
        trial: whether validation is all that is wanted.
    """

    cell: Cell
    request: dict[str, Any]
    number: str
    trial: bool = False


def _run_all(root: Path, jobs: Sequence[_Job]) -> None:
    """Computes what is not finished; what other comparisons are computing, it waits for.

    One that ends without finishing its cell leaves it to those that wait.
    """
    left, before = list(jobs), 0
    while True:
        holders = {job.number: holder for job in left if (holder := _run(job, root))}
        left = [job for job in left if job.number in holders]
        if not left:
            return
        if len(left) != before:
            who = ", ".join(dict.fromkeys(holders.values()))
            say(f"waiting for what others compute: {', '.join(holders)} ({who})")
            before = len(left)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _run(job: _Job, root: Path) -> str | None:
    """Computes a cell, unless it is finished or another comparison is computing it.

    Returns:
        Who else is computing it; None where it is finished now.
    """
    directory, title = job.cell.directory(root), f"{job.number} {job.cell.title}"
    if _finished(job, root):
        say(f"{title}: finished before")
        return None
    directory.mkdir(parents=True, exist_ok=True)
    lock = RunLock(directory)
    if holder := lock.take():
        return holder
    try:
        if not _finished(job, root):  # since the first look
            write_whole(directory / "cell.json", json.dumps(job.request, indent=1))
            _compute(directory, title, job.trial, lock)
    finally:
        lock.release()
    return None


def _finished(job: _Job, root: Path) -> bool:
    files = (RESULT, VALIDATION) if job.trial else (RESULT,)
    return any((job.cell.directory(root) / file).exists() for file in files)


def _compute(directory: Path, title: str, trial: bool, lock: RunLock) -> None:
    """Runs the process of a cell, which has the lock as well, and shows what it says."""
    start, last = time.perf_counter(), ""
    # It ends when its standard input does, so with this process, however that ends.
    command = [
        sys.executable,
        "-m",
        "tf_syncrec.comparison.worker",
        str(directory),
        "--with_parent",
    ]
    if trial:
        command.append("--trial")
    with (
        (directory / "log.txt").open("a" if (directory / VALIDATION).exists() else "w") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=lock.shared_with(),
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
