"""The input pipeline alone beside training, and how long training waits for it.

    python -m benchmarks.input_pipeline --length 10 --varied

Three rounds in turns, medians: batches read and thrown away; whole training steps; and, of these
steps, the share of time between asking for a batch and having it.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import keras
import tensorflow as tf

from benchmarks.workload import RandomSequences, add_sizes, config_of, domain_sizes
from tf_syncrec.data.batches import train_batches
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.optimizers import optimizer_of

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--steps", type=int, default=40, help="steps a round (40)")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    config, sizes = config_of(options), domain_sizes(options)
    count = options.steps * options.batch_size
    users = RandomSequences(count, options.length, sizes, options.varied)
    batches = train_batches(users, options.window, options.batch_size, 0)
    model = SyNCRec.from_settings(config, sizes)
    model.compile(optimizer_of(config.train.optimizer, 1e-3))
    step = tf.function(model.train_step, input_signature=[batches.epoch(0).element_spec])

    alone, training, waiting = [], [], []
    for number in range(ROUNDS + 1):  # the first fills the cache and traces
        start = time.perf_counter()
        read = sum(1 for _ in batches.epoch(number))
        reading = time.perf_counter() - start
        start, waited = time.perf_counter(), 0.0
        iterator = iter(batches.epoch(number))
        for _ in range(read):
            asked = time.perf_counter()
            batch = next(iterator)
            waited += time.perf_counter() - asked
            step(batch)["loss"].numpy()
        total = time.perf_counter() - start
        if number:
            alone.append(count / reading)
            training.append(count / total)
            waiting.append(waited / total)
    result = {
        "pipeline_sequences_per_s": statistics.median(alone),
        "training_sequences_per_s": statistics.median(training),
        "waiting_share": statistics.median(waiting),
    }
    result["ratio"] = result["pipeline_sequences_per_s"] / result["training_sequences_per_s"]
    print(
        f"pipeline alone {result['pipeline_sequences_per_s']:,.0f} sequences/s, training "
        f"{result['training_sequences_per_s']:,.0f}: {result['ratio']:.1f} times as many; "
        f"training waits {result['waiting_share']:.1%} of the time"
    )
    if options.output:
        given = {name: value for name, value in vars(options).items() if name != "output"}
        options.output.write_text(json.dumps({"sizes": given, **result}, indent=1))


if __name__ == "__main__":
    main()
