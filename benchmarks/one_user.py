"""One user from Python: milliseconds of `Run.recommend`, beside the signature that it calls.

    python -m benchmarks.one_user [--items 100000] [--domains 5] [--dim 64]

Prints JSON. Both sides take turns on the same histories, after loading.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.serving_load import (
    begin_report,
    catalogue_of,
    export_untrained,
    histories,
    numbers,
)
from tf_syncrec.config import Config
from tf_syncrec.recommending.served_model import ServedModel
from tf_syncrec.run import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=numbers, default=[100_000], metavar="N,N")
    parser.add_argument("--dim", type=int, default=64, help="r")
    parser.add_argument("--domains", type=int, default=5)
    parser.add_argument("--history", type=int, default=25, help="items of each history")
    parser.add_argument("--turns", type=int, default=500)
    args = parser.parse_args()
    report = begin_report(args)
    for items in args.items:
        catalogue = catalogue_of(items, args.domains)
        with tempfile.TemporaryDirectory() as folder:
            served = ServedModel(export_untrained(catalogue, args.dim, Path(folder)))
        run = Run("benchmark")
        # What a run on disk would read.
        vars(run).update(served=served, catalogue=catalogue, config=Config())
        signature, domain = served.signatures["top_k"], catalogue.domains[0]
        rows, _ = histories(catalogue, args.turns + 1, args.history)
        seconds: dict[str, list[float]] = {"Run.recommend": [], "signature": []}
        for turn, row in enumerate(rows):
            begun = time.perf_counter()
            run.recommend([list(row)], domain)
            between = time.perf_counter()
            signature(
                items=tf.constant([list(row)]),
                domain=tf.constant([domain]),
                k=tf.constant([10]),
            )
            ended = time.perf_counter()
            if turn:  # the first one traces
                seconds["Run.recommend"].append(between - begun)
                seconds["signature"].append(ended - between)
        report["measurements"] += [
            {"items": items, "side": side}
            | {f"p{p} ms": round(1e3 * float(np.percentile(times, p)), 2) for p in (50, 99)}
            for side, times in seconds.items()
        ]
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
