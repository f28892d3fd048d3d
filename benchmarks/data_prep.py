"""How fast do logs become sequences, and in how much memory, beside a plain pandas version?

    python benchmarks/data_prep.py --rows 1000000 --output results.json

Generates a log, writes it as Parquet and as gzipped CSV, and prepares each with `data_prep` and
with pandas: read, one domain an item, repeated rows, order with hashed ties, leave-one-out, ids
from training rows, a sequence a user in three splits, written (by us as the TFDS dataset with its
data card, by pandas as Parquet). Every run is a process of its own; its time is that of the work,
without imports, and its memory the most that the process ever held.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from tabulate import tabulate

DOMAINS = [f"domain_{n}" for n in range(5)]
COLUMNS = ["user_id", "item_id", "domain", "timestamp"]


def generate(rows: int, seed: int = 0) -> pa.Table:
    """A log of long-tailed users and items, whole days as times, some rows repeated."""
    rng = np.random.default_rng(seed)
    users = (rows // 10 * rng.random(rows) ** 1.5).astype(np.int64)
    items = (rows // 20 * rng.random(rows) ** 3).astype(np.int64)
    days = 86_400 * rng.integers(11_000, 16_000, rows)
    repeated = rng.integers(0, rows - rows // 100, rows // 100)
    order = rng.permutation(np.concatenate([np.arange(rows - len(repeated)), repeated]))
    users, items, days = users[order], items[order], days[order]
    return pa.table(
        {
            "user_id": pa.array(np.char.add("A", (users * 7919 + 10**9).astype(str))),
            "item_id": pa.array(np.char.add("B", (items * 104_729 + 10**8).astype(str))),
            "domain": pa.array(np.array(DOMAINS)[items % 5]),
            "timestamp": days.astype(np.float64),
        }
    )


def write(table: pa.Table, folder: Path) -> dict[str, Path]:
    paths = {"parquet": folder / "log.parquet", "csv.gz": folder / "log.csv.gz"}
    pq.write_table(table, paths["parquet"])
    with pa.CompressedOutputStream(str(paths["csv.gz"]), "gzip") as file:
        pyarrow.csv.write_csv(table, file)
    return paths


def with_us(path: Path, folder: Path) -> int:
    from data_prep import prepare

    prepared = prepare("interactions", path=path, data_dir=folder, report=None)
    return prepared.metadata["evaluated_users"]


def with_pandas(path: Path, folder: Path) -> int:
    log = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    log["timestamp"] = pd.to_numeric(log["timestamp"], errors="coerce")
    log = log.dropna()
    owners = log.groupby(["item_id", "domain"]).size().reset_index(name="rows")
    owners = owners.sort_values(["item_id", "rows", "domain"], ascending=[True, False, True])
    owners = owners.drop_duplicates("item_id")[["item_id", "domain"]]
    events = log.drop(columns="domain").drop_duplicates().merge(owners, on="item_id")
    keys = events["user_id"] + "\x1f" + events["item_id"]
    events["tie"] = [hashlib.md5(key.encode()).hexdigest() for key in keys]
    events = events.sort_values(["user_id", "timestamp", "tie", "item_id"])
    position = events.groupby("user_id").cumcount()
    size = events.groupby("user_id")["item_id"].transform("size")
    left = size - position
    events["role"] = np.where(size < 3, 0, np.select([left == 1, left == 2], [2, 1], 0))
    train = events[events["role"] == 0]
    counts = train.groupby(["domain", "item_id"]).size().reset_index(name="count")
    counts = counts.sort_values(["domain", "count", "item_id"], ascending=[True, False, True])
    counts["id"] = np.arange(1, len(counts) + 1, dtype=np.int32)
    counts.to_parquet(folder / "items.parquet")
    events = events.merge(counts[["item_id", "id"]], on="item_id", how="left")
    events["id"] = events["id"].fillna(0).astype(np.int32)
    evaluated = 0
    for role, split in enumerate(("train", "validation", "test")):
        history = events[(events["role"] == role) | ((events["role"] < role) & (events["id"] > 0))]
        if role:
            targets = events.loc[events["role"] == role, "user_id"]
            history = history[history["user_id"].isin(targets)]
            evaluated = len(targets)
        rows = history.groupby("user_id").agg({"id": list, "timestamp": list})
        rows.to_parquet(folder / f"{split}.parquet")
    return evaluated


_SHOWN = ("seconds", "cpu_seconds", "rows_per_second", "peak_gib")
WAYS = {"data_prep": with_us, "pandas": with_pandas}


def child(way: str, path: Path) -> None:
    """One measurement, printed as JSON."""
    sys.path[0] = str(Path(__file__).parents[1])  # In this folder `data_prep` is this file.
    import ibis.backends.duckdb  # noqa: F401  # Both pay nothing for imports.
    import matplotlib.figure  # noqa: F401
    import tensorflow  # noqa: F401

    import data_prep.builders
    import data_prep.engines.connection
    import data_prep.pipeline.sequences
    import data_prep.read.interactions
    import data_prep.store.tfrecords  # noqa: F401
    from tf_syncrec.training.loop import peak_memory_mb

    with tempfile.TemporaryDirectory() as folder:
        start, start_cpu = time.perf_counter(), time.process_time()
        users = WAYS[way](path, Path(folder))
        seconds = time.perf_counter() - start
        cpu_seconds = time.process_time() - start_cpu
    peak = peak_memory_mb() / 1024
    found = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gib": peak}
    print(json.dumps(found | {"test_targets": users}))


def measure(way: str, path: Path) -> dict:
    command = [sys.executable, __file__, "--child", way, "--path", str(path)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(ended.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3, help="the median counts")
    parser.add_argument("--ways", default="data_prep,pandas")
    parser.add_argument("--output", type=Path, help="JSON")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.path)
        return
    results: dict = {"rows": options.rows, "repeats": options.repeats}
    with tempfile.TemporaryDirectory() as folder:
        for shape, path in write(generate(options.rows), Path(folder)).items():
            found: dict[str, list[dict]] = {way: [] for way in options.ways.split(",")}
            for _ in range(options.repeats):  # In turn, so that a busy machine is busy for both.
                for way, runs in found.items():
                    runs.append(measure(way, path))
            targets = {run["test_targets"] for runs in found.values() for run in runs}
            assert len(targets) == 1, f"they disagree on the number of test targets: {targets}"
            results[shape] = {
                way: {
                    "seconds": statistics.median(run["seconds"] for run in runs),
                    "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
                    "all_seconds": [run["seconds"] for run in runs],
                    "peak_gib": max(run["peak_gib"] for run in runs),
                }
                for way, runs in found.items()
            }
    rows = []
    for shape in ("parquet", "csv.gz"):
        for way, run in results[shape].items():
            run["rows_per_second"] = options.rows / run["seconds"]
            rows.append([shape, way, *(run[name] for name in _SHOWN)])
        if len(results[shape]) > 1:
            ours, theirs = (results[shape][way] for way in ("data_prep", "pandas"))
            results[shape]["speed_ratio"] = theirs["seconds"] / ours["seconds"]
            results[shape]["memory_ratio"] = ours["peak_gib"] / theirs["peak_gib"]
    print(
        tabulate(
            rows, ["log", "with", "seconds", "CPU seconds", "rows/s", "peak GiB"], floatfmt=",.2f"
        )
    )
    for shape in ("parquet", "csv.gz"):
        if "speed_ratio" in results[shape]:
            print(
                f"{shape}: {results[shape]['speed_ratio']:.2f} times as fast as pandas, with "
                f"{results[shape]['memory_ratio']:.2f} times its memory"
            )
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
