"""What a training holds besides weights and optimizer state, by the number of items.

    python -m benchmarks.large_table --sizes 100000,1000000,10000000 --output results.json

Each size is a process of its own. For each stage of a run, the most memory that the process held in
it (Linux; MiB, resident), less weights and optimizer state: `build` the model, `train` some steps,
`rank` users among all items of their domain, `save` a checkpoint and the best weights.
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

from benchmarks.workload import RandomSequences, add_sizes, config_of, domain_sizes, in_a_process

STAGES = ("build", "train", "rank", "save")
WARM_UP = 2


def measure(options) -> dict[str, float]:
    """All stages of one size, in this process."""
    import keras
    import tensorflow as tf

    from tf_syncrec.checkpoints import Checkpoints
    from tf_syncrec.data import train_batches
    from tf_syncrec.files import save_weights_whole
    from tf_syncrec.model import SyNCRec
    from tf_syncrec.optimizers import optimizer_of
    from tf_syncrec.ranking import ModelScorer
    from tf_syncrec.training import peak_memory_mb

    peaks = {}

    def stage(name: str) -> None:
        peaks[name] = peak_memory_mb()
        Path("/proc/self/clear_refs").write_text("5")  # the next peak begins from here

    keras.utils.set_random_seed(0)
    config, sizes = config_of(options), domain_sizes(options)
    steps = WARM_UP + options.steps
    users = RandomSequences(options.batch_size * steps, options.length, sizes, options.varied)
    batches = train_batches(users, options.window, options.batch_size, 0)
    model = SyNCRec(config, sizes)
    model.compile(optimizer_of(config.train.optimizer, 1e-3, model.tables))
    stage("build")
    ends: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    model.fit(batches.epoch(0), steps_per_epoch=steps, verbose=0, callbacks=[note])
    stage("train")
    scorer = ModelScorer(model)
    scorer.refresh()
    histories = tf.ones([options.batch_size, options.length], tf.int32)
    domains = tf.zeros([options.batch_size], tf.int32)
    queries = scorer.queries({"items": histories, "domain": domains})
    offset = 1
    for size in sizes:
        scorer.scores(queries, tf.constant(offset), tf.constant(size))
        offset += size
    stage("rank")
    variables = [*model.variables, *model.optimizer.variables]
    checkpoint = tf.train.Checkpoint(all=[variable.value for variable in variables])
    with tempfile.TemporaryDirectory(dir=options.scratch) as directory:
        Checkpoints(Path(directory), print).save(
            1, lambda place: checkpoint.write(str(place / "variables"))
        )
        save_weights_whole(model, Path(directory) / "best.weights.h5")
    stage("save")
    state = sum(variable.numpy().nbytes for variable in variables) / 2**20
    return {
        "items": options.items,
        "weights_and_optimizer_mib": state,
        "step_ms": 1e3 * statistics.median(np.diff(ends[WARM_UP - 1 :])),
    } | {name: peak - state for name, peak in peaks.items()}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add_sizes(parser)
    parser.add_argument("--sizes", default="100000,1000000", help="items, in place of --items")
    parser.add_argument("--steps", type=int, default=5, help="measured steps (5)")
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
    rows = [
        [f"{row['items']:,}"]
        + [f"{row[name]:,.0f}" for name in ("weights_and_optimizer_mib", *STAGES, "step_ms")]
        for row in found
    ]
    print(
        tabulate(rows, ["items", "state MiB", *STAGES, "ms a step"], disable_numparse=True)
        + "\n(build to save: MiB besides the state)"
    )
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
