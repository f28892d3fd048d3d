"""Full ranking beside the bare matrix products that it needs.

    python -m benchmarks.ranking --users 10000 --items 100000

Every item of one domain is scored for every user and the targets are ranked, as evaluation does it
after the network has read the histories; beside it, products with candidate vectors of all items
that were made before. The sides take turns; figures are medians.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import tensorflow as tf
from tabulate import tabulate

from benchmarks.workload import matrix_rate
from tf_syncrec.config import Config, ModelConfig
from tf_syncrec.evaluation.full_ranking import ModelScorer, VectorScorer, row_chunks, target_ranks
from tf_syncrec.models.syncrec import SyNCRec

BATCH = 256
"""Users a batch, as `evaluate.batch_size`."""


class Vectors(VectorScorer):
    """Users are vectors already."""

    def queries(self, batch):
        return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000, help="(10000)")
    parser.add_argument("--items", type=int, default=100_000, help="(100000)")
    parser.add_argument("--dim", type=int, default=64, help="r (64)")
    parser.add_argument("--history", type=int, default=20, help="items of each user (20)")
    parser.add_argument("--rounds", type=int, default=5, help="(5)")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    items, users = options.items, options.users

    tf.random.set_seed(0)
    model = SyNCRec.from_settings(Config(model=ModelConfig(dim=options.dim)), [items])
    scorer, bare = ModelScorer(model), Vectors(model.candidate_vectors(tf.range(items + 1)))
    scorer.refresh()
    queries = tf.random.normal([users, options.dim])
    histories = tf.random.uniform([users, options.history], 1, items + 1, tf.int32)
    targets = tf.random.uniform([users], 1, items + 1, tf.int32)

    def rank(chunk):
        scores = scorer.scores(queries[chunk], 1, items)
        return target_ranks(scores, histories[chunk], targets[chunk], 1)

    def score(chunk):
        return bare.scores(queries[chunk], 1, items)

    def seconds(work):
        begun = time.perf_counter()
        for start in range(0, users, BATCH):
            for rows in row_chunks(min(BATCH, users - start), items):
                last = min(start + rows.stop, start + BATCH, users)
                work(slice(start + rows.start, last))
        return time.perf_counter() - begun

    times: dict[str, list[float]] = {"ranking": [], "products": []}
    rates = []
    for number in range(options.rounds + 1):
        for name, work in (("ranking", rank), ("products", score)):
            taken = seconds(work)
            if number:  # the first traces
                times[name].append(taken)
        rates.append(matrix_rate())
    rate = statistics.median(rates)
    needed = 2.0 * users * items * options.dim
    result = {
        name: {"seconds": (taken := statistics.median(of)), "share": needed / taken / rate}
        for name, of in times.items()
    }
    rows = [[name, f"{of['seconds']:.2f}", f"{of['share']:.0%}"] for name, of in result.items()]
    print(f"{users:,} users, {items:,} items, r = {options.dim}; {rate / 1e9:.0f} GFLOP/s")
    print(tabulate(rows, ["", "seconds", "share of the machine's matrix-product rate"]))
    if options.output:
        sizes = {name: value for name, value in vars(options).items() if name != "output"}
        options.output.write_text(json.dumps({"sizes": sizes, "rate": rate, **result}, indent=1))


if __name__ == "__main__":
    main()
