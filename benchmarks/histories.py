"""What a request costs that knows a user id, beside one that brings the history itself.

    python -m benchmarks.histories [--users 1000000] [--events 20] [--requests 3000]

Fills SQLite and, where there is a `redis-server`, Redis with made-up histories, serves a model by
the local server, and asks for random users in turns: by each store, and by the history itself.
Prints JSON: p50 and p99 of each, of a store's own reading and writing, its size and how fast it
was filled. Everything runs on this machine, so a network's time comes on top.
"""

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.serving_load import begin_report, catalogue_of, export_untrained, percentiles
from benchmarks.serving_process import local_server, resident_mib
from data_prep.log_histories import SCHEMA
from serving.client import Client
from serving.histories import Histories, StoreError, open_histories
from serving.histories.fill import fill

NOW = 1_700_000_000.0
USERS_A_BATCH = 5_000
WARM = 100
"""Requests of each kind before the first that counts."""


def write_made_up(file: Path, users: int, events: int, items: np.ndarray) -> int:
    """Histories of random items; their number is geometric. Returns how many events there are."""
    rng, number = np.random.default_rng(0), 0
    with pa.ipc.new_file(str(file), SCHEMA) as out:
        for first in range(0, users, USERS_A_BATCH):
            count = min(USERS_A_BATCH, users - first)
            lengths = rng.geometric(1 / events, count)
            starts = pa.array(np.append(0, lengths.cumsum()).astype(np.int32))
            size = int(lengths.sum())
            # Seconds before now; in order within a user.
            times = NOW - rng.integers(0, 10**8, size)
            times = times[np.lexsort((times, np.repeat(np.arange(count), lengths)))]
            columns = [
                pa.array([f"user {n}" for n in range(first, first + count)]),
                pa.ListArray.from_arrays(starts, pa.array(rng.choice(items, size), pa.string())),
                pa.ListArray.from_arrays(starts, pa.array(times)),
            ]
            out.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
            number += size
    return number


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[tuple[str, int]]:
    """One that writes nothing to disk; yields its address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--save", "", "--appendonly", "no", "--dir", str(folder), "--bind", "127.0.0.1"]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), *options], stdout=subprocess.DEVNULL
    )
    address = f"redis://127.0.0.1:{port}/0"
    try:
        for _ in range(200):
            with contextlib.suppress(StoreError):
                open_histories(address).mark("")
                break
            time.sleep(0.05)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(60)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(url: str, stores: dict[str, Histories], users: int, requests: int, domains) -> dict:
    """Seconds of each kind, asked in turns and each time in another order."""
    rng = np.random.default_rng(1)
    plain = Client(url)
    clients = {name: Client(url, histories=store) for name, store in stores.items()}
    first = next(iter(stores.values()))
    found: dict[str, list[float]] = {}
    for number in range(WARM + requests):
        user, domain = f"user {rng.integers(users)}", str(rng.choice(domains))
        history = [event.item_id for event in first.latest(user)]
        calls: dict[str, Callable[[], object]] = {
            "bare request": partial(plain.recommend, [history], domain)
        }
        for name, store in stores.items():
            calls |= {
                f"recommend_user, {name}": partial(clients[name].recommend_user, user, domain),
                f"latest, {name}": partial(store.latest, user),
                f"record, {name}": partial(store.record, "new", "B000000001", NOW + number),
            }
        for kind in rng.permutation(list(calls)):
            seconds = timed(calls[str(kind)])
            if number >= WARM:
                found.setdefault(str(kind), []).append(seconds)
    for name, client in clients.items():
        assert client.histories.missed == 0, name
    return {kind: percentiles(found[kind]) for kind in sorted(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=20, help="of a user, on average")
    parser.add_argument("--requests", type=int, default=3_000, help="of each kind")
    parser.add_argument("--items", type=int, default=10_000, help="of the served model")
    parser.add_argument("--dim", type=int, default=64, help="r")
    args = parser.parse_args()
    report = begin_report(args)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        catalogue = catalogue_of(args.items, 5)
        export_untrained(catalogue, args.dim, folder / "export")
        file = folder / "histories.arrow"
        report["events"] = write_made_up(file, args.users, args.events, catalogue.item_ids)
        addresses = {"SQLite": str(folder / "histories.db")}
        if shutil.which("redis-server"):
            addresses["Redis"], redis_pid = stack.enter_context(redis_server(folder))
        else:
            report["left out"] = "Redis: there is no redis-server"
        stores = {name: open_histories(address) for name, address in addresses.items()}
        for name, store in stores.items():
            seconds = timed(partial(fill, store, file, "made up", lambda line: None))
            size = (
                resident_mib(redis_pid)
                if name == "Redis"
                else sum(path.stat().st_size for path in folder.glob("histories.db*")) / 2**20
            )
            report["measurements"].append(
                {
                    "store": name,
                    "filled_events_per_second": round(report["events"] / seconds),
                    "fill_seconds": round(seconds),
                    "mib": round(size),
                }
            )
        with local_server(folder / "export") as (url, _):
            report["latency"] = measure(
                url, stores, args.users, args.requests, list(catalogue.domains)
            )
        for store in stores.values():
            store.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
