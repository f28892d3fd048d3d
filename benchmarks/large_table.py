"""What a training holds besides weights and optimizer state, by the number of items.

    python -m benchmarks.large_table --sizes 100000,1000000,10000000 --output results.json

Each size is a process of its own. For each stage of a run, the most memory that the process held in
it (Linux; MiB, resident), less weights and optimizer state: `build` the model, `train` some steps,
`rank` users among all items of their domain, `save` a checkpoint and the best weights, `load` both
into the model, and train one more step; with `--export`, write the SavedModel.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.workload import (
    RandomSequences,
    add_sizes,
    config_of,
    domain_sizes,
    in_a_process,
    peak_since_last_call,
)

STAGES = ("build", "train", "rank", "save", "load", "export")
WARM_UP = 2


def measure(options) -> dict[str, float]:
    """All stages of one size, in this process."""
    import keras
    import tensorflow as tf

    from data_prep import Catalogue
    from serving.export import export
    from tf_syncrec.data.batches import train_batches
    from tf_syncrec.evaluation.full_ranking import ModelScorer, row_chunks, target_ranks
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.training.checkpoints import Checkpoints
    from tf_syncrec.training.optimizers import optimizer_of
    from tf_syncrec.utils import hdf5
    from tf_syncrec.utils.hdf5 import load_weights, save_weights_whole
    from tf_syncrec.utils.variables import as_array

    peaks = {}

    def stage(name: str) -> None:
        peaks[name] = peak_since_last_call()

    keras.utils.set_random_seed(0)
    config, sizes = config_of(options), domain_sizes(options)
    steps = WARM_UP + options.steps
    users = RandomSequences(options.batch_size * steps, options.length, sizes, options.varied)
    batches = train_batches(users, options.window, options.batch_size, 0)
    model = SyNCRec.from_settings(config, sizes)
    model.compile(optimizer_of(config.train.optimizer, 1e-3))
    stage("build")
    ends: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.fit(batches.epoch(0), steps_per_epoch=steps, verbose=0, callbacks=[note])
    stage("train")
    scorer = ModelScorer(model)
    scorer.refresh()
    histories = tf.ones([options.users, options.length], tf.int32)
    domains = tf.zeros([options.users], tf.int32)
    queries = scorer.queries({"items": histories, "domain": domains})
    offset, begun = 1, time.perf_counter()
    for size in sizes:
        for rows in row_chunks(options.users, size):
            scores = scorer.scores(queries[rows], offset, size)
            target_ranks(scores, histories[rows], tf.fill([len(scores)], offset), offset)
        offset += size
    seconds = time.perf_counter() - begun
    stage("rank")
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    with tempfile.TemporaryDirectory(dir=options.scratch) as directory:
        checkpoint = Checkpoints(Path(directory), print).save(
            1, lambda place: hdf5.save(place / "variables.h5", groups)
        )
        weights = Path(directory) / "best.weights.h5"
        save_weights_whole(model, weights)
        stage("save")
        hdf5.load(checkpoint / "variables.h5", groups)
        load_weights(model, weights)
        model.fit(batches.epoch(0), steps_per_epoch=1, verbose=0)
        stage("load")
    if options.export:
        ids = np.array([f"item {number}" for number in range(options.items)], object)
        domains = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        names = tuple(f"domain {d}" for d in range(len(sizes)))
        catalogue = Catalogue(names, ids, domains, np.ones(options.items, np.int64))
        with tempfile.TemporaryDirectory(dir=options.scratch) as directory:
            export(model, catalogue, Path(directory), config.evaluate)
        stage("export")
    state = sum(as_array(x).nbytes for group in groups.values() for x in group) / 2**20
    return {
        "items": options.items,
        "weights_and_optimizer_mib": state,
        "rank_seconds": seconds,
        "step_ms": 1e3 * statistics.median(np.diff(ends[WARM_UP - 1 :])),
    } | {name: peak - state for name, peak in peaks.items()}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add_sizes(parser)
    parser.add_argument("--sizes", default="100000,1000000", help="items, in place of --items")
    parser.add_argument("--steps", type=int, default=5, help="measured steps (5)")
    parser.add_argument("--users", type=int, default=64, help="ranked in each domain (64)")
    parser.add_argument("--export", action="store_true", help="write the SavedModel as well")
    parser.add_argument("--scratch", help="where a checkpoint may be written and deleted")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options)))
        return
    found = []
    for items in options.sizes.split(","):
        given = [*sys.argv[1:], "--items", items, "--here"]
        found.append(in_a_process("benchmarks.large_table", given))
    stages = STAGES if options.export else STAGES[:-1]
    columns = ("weights_and_optimizer_mib", *stages, "rank_seconds", "step_ms")
    rows = [[f"{row['items']:,}"] + [f"{row[name]:,.0f}" for name in columns] for row in found]
    headers = ["items", "state MiB", *stages, "s to rank", "ms a step"]
    print(
        tabulate(rows, headers, disable_numparse=True)
        + f"\n(build to {stages[-1]}: MiB besides the state)"
    )
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
