"""Users a second of answers to everybody, beside the matrix products that they need.

    python -m benchmarks.everybody [--items 100000,1000000] [--domains 5] [--dim 64]

Prints JSON. Three sides take turns on the same users, so that other work on the machine meets all
of them: every domain by one pass (`each_domain`, what `tf_syncrec.recommend` asks), the domains one
after the other, and the product of query and item vectors alone, [users, r] x [r, items]. `share`
is the time of the product as a part of that of the answers.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
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
from tf_syncrec.recommending.everybody import USERS_AT_ONCE
from tf_syncrec.recommending.served_model import ServedModel


def one_by_one(served, names, rows, domains):
    """As somebody has to who has `top_k` alone."""
    for domain in domains:
        served.in_domain(names, rows, domain, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=numbers, default=[100_000, 1_000_000], metavar="N,N")
    parser.add_argument("--dim", type=int, default=64, help="r")
    parser.add_argument("--domains", type=int, default=5)
    parser.add_argument("--history", type=int, default=25, help="items of each history")
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()
    report = begin_report(args) | {"users_at_once": USERS_AT_ONCE}
    for items in args.items:
        catalogue = catalogue_of(items, args.domains)
        with tempfile.TemporaryDirectory() as folder:
            served = ServedModel(export_untrained(catalogue, args.dim, Path(folder)))
        users, _ = histories(catalogue, USERS_AT_ONCE, args.history)
        rows, names = users.tolist(), [""] * USERS_AT_ONCE
        queries = tf.random.normal([USERS_AT_ONCE, args.dim])
        vectors = tf.random.normal([items, args.dim])

        sides: dict[str, Callable] = {
            "each domain": partial(served.in_each_domain, names, rows, 10),
            "one by one": partial(one_by_one, served, names, rows, catalogue.domains),
            "product": partial(tf.matmul, queries, vectors, transpose_b=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(args.turns + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                side()
                if turn:  # the first one traces
                    seconds[name].append(time.perf_counter() - start)
        median = {name: float(np.median(times)) for name, times in seconds.items()}
        report["measurements"].append(
            {"items": items, "share": round(median["product"] / median["each domain"], 3)}
            | {
                f"users a second, {name}": round(USERS_AT_ONCE / each)
                for name, each in median.items()
            }
        )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
