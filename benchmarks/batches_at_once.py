"""What follows a training: a batch at a time, and as many as there are cores, in turns.

    python -m benchmarks.batches_at_once --run RUN [--rounds 5]

Nothing of the run is changed. Numbers are seconds of a whole machine, which has to be idle.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from tabulate import tabulate

import tf_syncrec
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.all_domains import rank_all_domains
from tf_syncrec.evaluation.beyond_accuracy import measure_answers
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.scoring.kept_batches import KeptBatches
from tf_syncrec.scoring.mixture import fit_mixture
from tf_syncrec.scoring.view_weights import fit_view_weights
from tf_syncrec.scoring.votes import fit_votes
from tf_syncrec.utils import parallel


def measure(run: tf_syncrec.Run) -> dict[str, float]:
    """Seconds of each stage, on validation; all of them fit what is fitted already."""
    model, prepared = run.model, run.data()
    catalogue, mixture = prepared.catalogue, model.mixture
    split = evaluation_batches(prepared, "validation", run.config.evaluate.batch_size)
    kept, scorer = KeptBatches(split, model), ModelScorer(model)

    def silent(line: str) -> None:
        """Nobody reads it."""

    stages: dict[str, Callable] = {
        "histories asked for once": lambda: list(kept),
        "votes": lambda: fit_votes(model, catalogue, kept, silent),
        "weights of the views": lambda: fit_view_weights(model, catalogue, kept, silent),
        "calibration": lambda: fit_mixture(model, catalogue, kept, silent),
        "ranking": lambda: rank_split(scorer, kept, catalogue),
        "ranking among all domains": lambda: rank_all_domains(scorer, kept, catalogue, mixture),
        "influence": lambda: influence(scorer, kept, catalogue),
        "beyond accuracy": lambda: measure_answers(
            scorer, kept, catalogue, mixture, model.candidate_vectors
        ),
    }
    found = {}
    with model.at_rest():
        for name, stage in stages.items():
            start = time.perf_counter()
            stage()
            found[name] = time.perf_counter() - start
    return found | {"all": sum(found.values())}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", type=Path, required=True, help="a finished run, and its data")
    parser.add_argument("--rounds", type=int, default=5, help="times that each side runs (5)")
    options = parser.parse_args()
    run = tf_syncrec.load(str(options.run))
    measure(run)  # graphs are built
    one, several = [], []
    for _ in range(options.rounds):
        with mock.patch.object(parallel, "_threads", lambda: 1):
            one.append(measure(run))
        several.append(measure(run))
    rows = []
    for stage in one[0]:
        pairs = [(a[stage], b[stage]) for a, b in zip(one, several, strict=True)]
        gains = [a / b for a, b in pairs]
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        rows.append((stage, *medians, statistics.median(gains), min(gains), max(gains)))
    headers = ["stage", "one at a time, s", "several, s", "times as fast", "least", "most"]
    form = ("", ".1f", ".1f", ".2f", ".2f", ".2f")
    print(tabulate(rows, headers, floatfmt=form, tablefmt="pipe"))


if __name__ == "__main__":
    main()
