"""Another index beside the exact one: recall@10 and the time of a search.

    python -m benchmarks.item_index [--items 100000,1000000]
    make scann && .venv-scann/bin/python -m benchmarks.item_index --index scann

Prints JSON. Each catalogue is one domain. Vectors are drawn around centres, as those of related
items lie, or without any structure, which is the hardest; queries are drawn around items. Both
sides take turns, so that other work on the machine meets both; `cpu` counts all threads.
"""

import argparse
import json
import time

import numpy as np
import tensorflow as tf

from benchmarks.serving_load import add_sizes, begin_report
from serving.saved_model import INDEXES
from serving.saved_model.search.index import ItemIndex

ANSWERS = 10


def vectors(kind: str, items: int, dim: int, rng) -> np.ndarray:
    """`[items, dim]` float32."""
    noise = rng.normal(size=(items, dim)).astype(np.float32)
    if kind == "unstructured":
        return noise
    centres = rng.normal(size=(round(items**0.5), dim)).astype(np.float32)
    return centres[rng.integers(0, len(centres), items)] + 0.7 * noise


def search(index, dim):
    """As a graph, which is how it is served."""
    signature = [tf.TensorSpec([None, dim], tf.float32), tf.TensorSpec([], tf.int32)]
    return tf.function(
        lambda queries, k: index(queries, tf.constant(0), k), signature, autograph=False
    )


def recall(sides, queries, k):
    """Share of the best 10 that the other index finds."""
    best, found = (side(queries, k)[1].numpy()[:, :ANSWERS] for side in sides.values())
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(best, found, strict=True)]))


def take_turns(sides, queries, k, seconds):
    """Medians in milliseconds of each side, wall and CPU."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for side in sides.values():
        side(queries, k)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["exact"]) < 5:
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side(queries, k)
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    medians = {name: np.median(each, axis=0) * 1000 for name, each in times.items()}
    return {
        name: {"wall_ms": round(float(wall), 2), "cpu_ms": round(float(cpu), 2)}
        for name, (wall, cpu) in medians.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser)
    parser.add_argument("--index", choices=INDEXES[1:], default="bfloat16", help="beside exact")
    parser.add_argument("--history", type=int, default=50, help="items to search in addition")
    parser.add_argument("--queries", type=int, default=256, help="of which recall is the mean")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    args = parser.parse_args()
    report = begin_report(args)
    k = tf.constant(ANSWERS + args.history)
    for items in args.items:
        for kind in ("clustered", "unstructured"):
            rng = np.random.default_rng(0)
            candidates = vectors(kind, items, args.dim, rng)
            near = candidates[rng.integers(0, items, args.queries)]
            queries = tf.constant(near + 0.7 * rng.normal(size=near.shape).astype(np.float32))
            start = time.perf_counter()
            sides = {
                name: search(ItemIndex(tf.constant(candidates), [items], name), args.dim)
                for name in ("exact", args.index)
            }
            built = time.perf_counter() - start
            report["measurements"].append(
                {"items": items, "vectors": kind, "build_seconds": round(built, 1)}
                | {"recall@10": round(recall(sides, queries, k), 4)}
                | {
                    f"batch {batch}": take_turns(sides, queries[:batch], k, args.seconds)
                    for batch in args.batches
                }
            )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
