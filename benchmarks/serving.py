"""Latency and throughput of the local server, and of the bare signature call beside it.

    python -m benchmarks.serving [--items 100000,1000000] [--batches 1,64] [--clients 1,4]

Prints JSON. The clients run on the same machine, so they take their share of its cores; what the
server adds is "one client" less "bare call", measured one after the other.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.serving_load import (
    Load,
    add_sizes,
    begin_report,
    catalogue_of,
    export_untrained,
    histories,
    numbers,
    percentiles,
)
from benchmarks.serving_process import local_server, resident_mib
from serving.saved_model import INDEXES
from serving.server.loaded_version import LoadedVersion


def bare(version, items, domain, seconds):
    """The signature call alone, from numpy to numpy."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or len(times) < 20:
        version.run("serving_default", {"items": items, "domain": domain})
        times.append(time.perf_counter() - start)
    return percentiles(times[len(times) // 10 :]) | {"calls": len(times)}


def served(url, items, domain, clients, seconds):
    """The same through HTTP and JSON, by a number of clients at a time."""
    body = json.dumps({"inputs": {"items": items.tolist(), "domain": domain.tolist()}}).encode()
    with Load(url, [body] * clients) as load:
        time.sleep(seconds / 5)
        warm = len(load.seconds)
        start = time.perf_counter()
        time.sleep(seconds)
        measured = load.seconds[warm:]
        passed = time.perf_counter() - start
    return percentiles(measured) | {
        "requests_per_second": round(len(measured) / passed, 1),
        "requests": len(measured),
        "failures": len(load.failures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser)
    parser.add_argument("--clients", type=numbers, default=[1, 4], metavar="N,N")
    parser.add_argument("--domains", type=int, default=5)
    parser.add_argument("--history", type=int, default=50, help="items of each history")
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument("--index", choices=INDEXES, default="exact", help="of the export")
    args = parser.parse_args()
    report = begin_report(args)
    for count in args.items:
        with tempfile.TemporaryDirectory() as folder:
            catalogue = catalogue_of(count, args.domains)
            path = export_untrained(catalogue, args.dim, Path(folder), index=args.index)
            requests = {batch: histories(catalogue, batch, args.history) for batch in args.batches}
            version = LoadedVersion(path)
            calls = {
                batch: bare(version, items, domain, args.seconds)
                for batch, (items, domain) in requests.items()
            }
            del version
            with local_server(Path(folder), "--threads", str(os.cpu_count())) as (url, pid):
                for batch, (items, domain) in requests.items():
                    measured = {
                        f"{clients} clients": served(url, items, domain, clients, args.seconds)
                        for clients in args.clients
                    }
                    report["measurements"].append(
                        {"items": count, "batch": batch, "bare call": calls[batch]}
                        | measured
                        | {"server_mib": round(resident_mib(pid))}
                    )
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
