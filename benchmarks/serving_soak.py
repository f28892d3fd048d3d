"""Full load while versions change: does a request fail, does memory grow?

    python -m benchmarks.serving_soak [--minutes 10] [--swaps 20]

Prints JSON; the exit code is 1 if a request failed or memory grew. Memory is the server's resident
size after each version has taken over; "growth" compares the means of the second and the last
quarter, as the first versions fill the allocator's pools.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import requests

from benchmarks.serving_load import Load, catalogue_of, export_untrained, histories, percentiles
from benchmarks.serving_process import local_server, resident_mib

GROWTH = 0.10
"""Of resident memory that is not called flat."""


def newest(url):
    """The version that is served."""
    status = requests.get(f"{url}/v1/models/syncrec", timeout=60).json()["model_version_status"]
    return max(int(each["version"]) for each in status if each["state"] == "AVAILABLE")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    args = parser.parse_args()
    if args.swaps < 4:
        parser.error(f"--swaps: growth needs at least 4, received {args.swaps}")
    with tempfile.TemporaryDirectory() as folder:
        catalogue = catalogue_of(args.items, 5)
        base = Path(folder) / "syncrec"
        first = export_untrained(catalogue, args.dim, base)
        spare = Path(folder) / "spare"
        shutil.copytree(first, spare)
        bodies = []
        for client in range(args.clients):
            items, domain = histories(catalogue, 1 + 7 * (client % 2), 50, seed=client)
            inputs = {"items": items.tolist(), "domain": domain.tolist()}
            bodies.append(json.dumps({"inputs": inputs}).encode())
        memory, taken_over = [], []
        with (
            local_server(base, "--threads", str(os.cpu_count())) as (url, pid),
            Load(url, bodies) as load,
        ):
            start = time.monotonic()
            for swap in range(1, args.swaps + 1):
                due = start + 60 * args.minutes * swap / args.swaps
                time.sleep(max(0, due - time.monotonic()))
                number = swap + 1
                shutil.copytree(spare, base / ".next")
                renamed = time.monotonic()
                (base / ".next").rename(base / str(number))
                while newest(url) != number:
                    time.sleep(0.2)
                taken_over.append(time.monotonic() - renamed)
                shutil.rmtree(base / str(number - 1))
                memory.append(resident_mib(pid))
            minutes = (time.monotonic() - start) / 60
    quarter = max(1, len(memory) // 4)
    before, after = np.mean(memory[quarter : 2 * quarter]), np.mean(memory[-quarter:])
    report = {
        "minutes": round(minutes, 1),
        "swaps": args.swaps,
        "requests": len(load.seconds),
        "failures": load.failures[:10],
        "failed_requests": len(load.failures),
        **percentiles(load.seconds),
        "seconds_to_take_over": round(float(np.median(taken_over)), 1),
        "memory_mib": [round(each) for each in memory],
        "growth": round(float(after / before - 1), 3),
    }
    print(json.dumps(report, indent=2))
    sys.exit(bool(load.failures) or report["growth"] > GROWTH)


if __name__ == "__main__":
    main()
