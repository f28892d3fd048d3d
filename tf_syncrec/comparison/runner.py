"""A comparison from the plan to its numbers: trials, the choice, cells, conclusions."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep import InputError, PreparedDataset
from tf_syncrec.comparison.cells import Cell, Settings, cells_of
from tf_syncrec.comparison.grid_search import choose, trials_of, tuning_report, validation_metric
from tf_syncrec.comparison.jobs import Job, check_same, run_jobs
from tf_syncrec.comparison.plan import Plan
from tf_syncrec.comparison.results import assemble, rank_table, read_ranks
from tf_syncrec.config import Config
from tf_syncrec.utils.terminal import say


def run_comparison(
    root: Path,
    plan: Plan,
    reference: str,
    grid: tuple[Sequence[str], Sequence[Settings]],
    config: Config,
    prepared: PreparedDataset,
) -> tuple[dict[str, Any], pa.Table, list[Cell]]:
    """Computes what is missing of a comparison and reads all of it.

    Args:
        root: its directory, made if it is missing.
        plan: the seeds of each model.
        reference: name of the model that the others are measured against.
        grid: names and points, of `read_grid`.
        config: what all models share.
        prepared: the dataset.

    Returns:
        What `comparison.json` holds, test ranks (`results.rank_table`), and the finished cells.

    Raises:
        InputError: the directory cannot be made, or holds cells of something else; nothing was
            computed.
        SystemExit: a cell failed.
    """
    domains, (names, points) = prepared.catalogue.domains, grid
    for model in plan:
        if not model.places(domains):
            raise InputError(
                f"--models {model.text}: needs two domains, the data has {', '.join(domains)}"
            )

    def jobs(cells, kind="", trial=False):
        return [
            Job(
                cell,
                cell.directory(root),
                cell.request(config, prepared.name),
                f"[{kind}{number}/{len(cells)}]",
                trial,
            )
            for number, cell in enumerate(cells, start=1)
        ]

    trials = trials_of(plan, domains, points)
    of_trials = list(chain(*trials.values()))
    # Whatever will be chosen: all of them are looked at before hours of work.
    possible = [trial._replace(seed=seed) for trial in of_trials for seed in plan[trial.model]]
    untuned = [cell for cell in cells_of(plan, domains) if (cell.model, cell.domain) not in trials]
    for job in jobs([*possible, *untuned]):
        check_same(job.directory, job.request)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {root}: cannot be created ({error.strerror})") from None

    run_jobs(jobs(of_trials, "trial ", trial=True))
    chosen = choose(root, trials)
    for best in chosen.values():
        say(f"chosen: {best.title}: validation NDCG@10 {validation_metric(root, best):.4f}")

    cells = cells_of(plan, domains, {place: best.settings for place, best in chosen.items()})
    run_jobs(jobs(cells))

    ranks = read_ranks(root, cells)
    comparison = assemble(root, cells, ranks, reference, prepared, config)
    comparison["tuning"] = tuning_report(root, trials, cells, names, config)
    comparison["data_card"] = prepared.data_card
    return comparison, rank_table(ranks), cells
