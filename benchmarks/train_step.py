"""A whole training step with its input pipeline: ours beside a transcription of the equations.

    python -m benchmarks.train_step --items 1000000 --output results.json

Each side is a process of its own, in turns; figures are medians. The share is that of the float32
matrix products that a step needs (`workload.step_flop`) at the rate of the machine's own matrix
products, measured in the same process before and after. Sequences are random and full windows by
default; `--length 10 --varied` are as short as in real logs, and our side then packs them.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from tabulate import tabulate

from benchmarks.workload import RandomSequences, add_sizes, config_of, domain_sizes, in_a_process

SIDES = ("ours", "transcription")
WARM_UP = 3


def measure(side: str, options) -> dict[str, float]:
    """One side, in this process."""
    import keras
    import tensorflow as tf

    from benchmarks.transcription import Transcription
    from benchmarks.workload import matrix_rate, step_flop
    from tf_syncrec.data.batches import Layout, train_batches
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.training.loop import peak_memory_mb
    from tf_syncrec.training.optimizers import optimizer_of

    keras.utils.set_random_seed(0)
    config, sizes = config_of(options), domain_sizes(options)
    steps = WARM_UP + options.steps
    users = RandomSequences(options.batch_size * steps, options.length, sizes, options.varied)
    layout: Layout = "packed" if side == "ours" else "padded"
    batches = train_batches(users, options.window, options.batch_size, 0, layout=layout)
    if side == "ours":
        model = SyNCRec.from_settings(config, sizes)
        model.compile(optimizer_of(config.train.optimizer, 1e-3))
    else:
        model = Transcription(SyNCRec.from_settings(config, sizes))
        model.compile(keras.optimizers.Adam(1e-3))

    def padded(items, length):
        return tf.pad(items, [[0, 0], [length - tf.shape(items)[1], 0]])

    rates = [matrix_rate()]
    model.make_train_function()
    epoch, times = batches.epoch(0), []
    if side == "transcription":  # it needs T + 1 columns in every batch
        epoch = epoch.map(lambda batch: {"items": padded(batch["items"], options.window + 1)})
    iterator = iter(epoch)
    for _ in range(steps):
        start = time.perf_counter()
        keras.tree.map_structure(lambda x: x.numpy(), model.train_function(iterator))
        times.append(time.perf_counter() - start)
    rates.append(matrix_rate())
    seconds, rate = statistics.median(times[WARM_UP:]), statistics.mean(rates)
    state = sum(v.numpy().nbytes for v in (*model.weights, *model.optimizer.variables))
    return {
        "step_ms": 1e3 * seconds,
        "sequences_per_s": options.batch_size / seconds,
        "matrix_gflop_per_s": rate / 1e9,
        "share_of_matrix_rate": step_flop(options) / seconds / rate,
        "weights_and_optimizer_mib": state / 2**20,
        "peak_mib": peak_memory_mb(),
    }


def run(side: str, arguments: list[str]) -> dict[str, float]:
    """One side, in a process of its own."""
    return in_a_process("benchmarks.train_step", [*arguments, f"--side={side}"])


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Of each figure."""
    return {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--steps", type=int, default=20, help="measured steps (20)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each side (3)")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    parser.add_argument("--side", choices=SIDES, help="only this one, once, as JSON")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return
    found: dict[str, list] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            print(f"round {number + 1} of {options.rounds}: {side}", file=sys.stderr)
            found[side].append(run(side, sys.argv[1:]))
    result = {side: medians(rounds) for side, rounds in found.items()}
    ours, other = (result[side] for side in SIDES)
    ratio = ours["sequences_per_s"] / other["sequences_per_s"]
    rows = [[name, *(f"{result[side][name]:.4g}" for side in SIDES)] for name in ours]
    print(tabulate(rows, ["", *SIDES], disable_numparse=True))
    print(f"ours makes {ratio:.2f} times as many steps")
    if options.output:
        sizes = {k: v for k, v in vars(options).items() if k not in ("output", "side")}
        options.output.write_text(json.dumps({"sizes": sizes, **result, "ratio": ratio}, indent=1))


if __name__ == "__main__":
    main()
