"""What a second process brings: one worker against two on loopback, with the same global batch.

    python -m benchmarks.replicas --output results.json

Each process has one thread, so that two of them have twice the cores of one. Three sides, in turns:
`one` process; two processes `apart`, each with half of every batch and nothing to say to the other,
which is what the machine itself gives; and two workers `together`, which add up gradients.
Figures are medians of the steps of all rounds, milliseconds. Efficiency: time of one / (2 x time).
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tabulate import tabulate

from benchmarks.workload import RandomSequences, add_sizes, config_of, domain_sizes

SIDES = {"one": 1, "apart": 2, "together": 2}
WARM_UP = 5
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"
)


def measure(options) -> dict:
    """The steps of one process of one side, in this process."""
    import keras
    import numpy as np
    import tensorflow as tf

    from tf_syncrec.data.batches import train_batches
    from tf_syncrec.distributed.cluster import cluster_of
    from tf_syncrec.distributed.replicas import shared_out, strategy_of
    from tf_syncrec.models.syncrec import SyNCRec
    from tf_syncrec.training.optimizers import optimizer_of
    from tf_syncrec.utils.memory import KeepFreedMemory

    together = options.side == "together"
    cluster = cluster_of(options.workers, options.index, "auto") if together else None
    strategy = strategy_of("auto", cluster=cluster, report=lambda line: None)
    keras.utils.set_random_seed(0)
    size = options.batch_size // (2 if options.side == "apart" else 1)
    steps = WARM_UP + options.steps
    users = RandomSequences(size * steps, options.length, domain_sizes(options), options.varied)
    batches = train_batches(users, options.window, size, 0)
    config = config_of(options)
    with strategy.scope():
        model = SyNCRec.from_settings(config, domain_sizes(options))
        model.compile(optimizer_of(config.train.optimizer, 1e-3))
    ends: list[float] = []
    model.fit(
        shared_out(batches.epoch(0), strategy),
        steps_per_epoch=batches.steps,
        verbose=0,
        callbacks=[
            KeepFreedMemory(),
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
            ),
        ],
    )
    table = sum(
        int(np.prod(table.shape))
        for table in model.weights
        if getattr(table, "read_by_rows", False)
    )
    return {
        "ms": (1000 * np.diff(ends[WARM_UP - 1 :])).tolist(),
        "weights_mb": 4 * (model.count_trained() - table) / 2**20,
        "table_mb": 4 * table / 2**20,
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }


def run_side(side: str, arguments: list[str]) -> list[dict]:
    """All processes of one side at once."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(SIDES[side])]
    workers = ",".join(f"localhost:{one.getsockname()[1]}" for one in sockets)
    for one in sockets:
        one.close()
    command = [sys.executable, "-m", "benchmarks.replicas", *arguments]
    processes = [
        subprocess.Popen(
            [*command, "--side", side, "--workers", workers, "--index", str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD | {"CUDA_VISIBLE_DEVICES": ""},
            text=True,
        )
        for index in range(SIDES[side])
    ]
    told = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        sys.exit(f"error: side {side} failed; run it alone: {' '.join(command)} --side {side}")
    return [json.loads(out.splitlines()[-1]) for out in told]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description="One process against two.", allow_abbrev=False)
    add_sizes(parser)
    parser.add_argument("--steps", type=int, default=20, help="steps measured a round (20)")
    parser.add_argument("--rounds", type=int, default=2, help="times that each side runs (2)")
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--workers", help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    found: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side, runs in found.items():
            runs += run_side(side, sys.argv[1:])
    first = found["one"][0]
    times = {
        side: statistics.median(ms for run in runs for ms in run["ms"])
        for side, runs in found.items()
    }
    efficiency = {side: times["one"] / (SIDES[side] * times[side]) for side in SIDES}
    print(f"weights {first['weights_mb']:.1f} MiB, item table {first['table_mb']:.1f} MiB")
    rows = [(side, SIDES[side], f"{times[side]:.0f}", f"{efficiency[side]:.2f}") for side in SIDES]
    print(tabulate(rows, headers=("side", "processes", "ms a step", "efficiency")))
    if options.output:
        settings = {
            name: value
            for name, value in vars(options).items()
            if name not in ("side", "workers", "index", "output")
        }
        report = {"settings": settings, "cores": os.cpu_count(), "load": os.getloadavg()}
        report |= {"ms": times, "efficiency": efficiency, "runs": found}
        options.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
