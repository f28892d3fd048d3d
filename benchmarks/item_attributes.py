r"""What attributes of items cost: a training step with and without, and vectors of all items.

    python -m benchmarks.item_attributes --items 20000 --experts 2 --cross_experts 1 --dim 128 \
        --batch_size 64 --length 26 --varied

Both sides train in this process, step by step in turns, so that whatever else the machine does
hits both; figures are medians. Attributes are drawn with a long tail, `--per_item` of each item.
"""

import argparse
import statistics
import time

import numpy as np
from tabulate import tabulate

from benchmarks.workload import RandomSequences, add_sizes, config_of, domain_sizes

WARM_UP = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--steps", type=int, default=20, help="measured steps (20)")
    parser.add_argument("--attributes", type=int, default=30_000, help="attributes (30000)")
    parser.add_argument("--per_item", type=int, default=20, help="attributes of an item (20)")
    options = parser.parse_args()

    import keras

    from tf_syncrec.data.batches import train_batches
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.training.optimizers import optimizer_of

    config, sizes = config_of(options), domain_sizes(options)
    users = RandomSequences(
        options.batch_size * (WARM_UP + options.steps), options.length, sizes, options.varied
    )
    known = {"size": options.attributes, "per_item": options.per_item}
    sides: dict[str, dict] = {"without": {}, "with": {"attributes": known, "own_dropout": 0.1}}
    models, epochs = {}, {}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for side, more in sides.items():
        keras.utils.set_random_seed(0)
        models[side] = SyNCRec.from_settings(config, sizes, **more)
        models[side].compile(optimizer_of(config.train.optimizer, 1e-3))
        models[side].make_train_function()
        batches = train_batches(users, options.window, options.batch_size, 0)
        epochs[side] = iter(batches.epoch(0))
    rng = np.random.default_rng(0)
    shape = (options.items + 1, options.per_item)
    ids = 1 + (options.attributes * rng.random(shape) ** 3).astype(np.int32)
    shares = np.full(shape, options.per_item**-0.5, np.float32)
    models["with"].embedding.set_attributes(ids, shares)
    for _ in range(WARM_UP + options.steps):
        for side, model in models.items():
            start = time.perf_counter()
            keras.tree.map_structure(lambda x: x.numpy(), model.train_function(epochs[side]))
            times[side].append(time.perf_counter() - start)
    found = {side: statistics.median(times[side][WARM_UP:]) for side in sides}
    start = time.perf_counter()
    models["with"].embedding.whole_table()
    whole = time.perf_counter() - start
    rows = [[side, f"{1e3 * seconds:.0f}"] for side, seconds in found.items()]
    print(tabulate(rows, ["attributes", "ms a step"]))
    print(f"with: {found['with'] / found['without']:.2f} times as long")
    print(f"vectors of all {options.items:,} items: {whole:.1f} s")


if __name__ == "__main__":
    main()
