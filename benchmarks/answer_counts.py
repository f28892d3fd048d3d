"""What it costs the local server to count what it answers: requests with it and without, in turns.

    python -m benchmarks.answer_counts [--items 100000] [--batches 1,64] [--rounds 200]

Prints JSON: medians of milliseconds from a body to the answer, without HTTP, and of the counting
alone in microseconds. `each_domain` counts most, an answer for every row and domain.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.serving_load import (
    add_sizes,
    begin_report,
    catalogue_of,
    export_untrained,
    histories,
    numbers,
)
from serving.server.limits import Limits
from serving.server.model_config import ModelConfig
from serving.server.monitoring.answer_counts import AnswerCounts
from serving.server.rest_api import RestApi
from serving.server.versions import Versions

PATH = "/v1/models/syncrec:predict"


class Nothing(AnswerCounts):
    """Counts nothing."""

    def add(self, domains, inputs, outputs):
        """As the base class has it."""


class Timed(AnswerCounts):
    """Counts, and keeps how long that took."""

    def __init__(self):
        super().__init__()
        self.seconds: list[float] = []

    def add(self, domains, inputs, outputs):
        """As the base class has it."""
        start = time.perf_counter()
        super().add(domains, inputs, outputs)
        self.seconds.append(time.perf_counter() - start)


def measured(versions: Versions, body: bytes, rounds: int) -> dict[str, Any]:
    timed = Timed()
    sides = {
        name: RestApi(versions, ModelConfig(), Limits(), counts)
        for name, counts in (("counting", AnswerCounts()), ("not counting", Nothing()))
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, api in sides.items():
            start = time.perf_counter()
            api.answer("POST", PATH, body)
            seconds[name].append(time.perf_counter() - start)
    alone = RestApi(versions, ModelConfig(), Limits(), timed)
    for _ in range(rounds):
        alone.answer("POST", PATH, body)
    return {
        f"{name}, p50 ms": round(statistics.median(passed) * 1e3, 3)
        for name, passed in seconds.items()
    } | {"the counting alone, p50 us": round(statistics.median(timed.seconds) * 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_sizes(parser)
    parser.set_defaults(items=[100_000])
    parser.add_argument("--domains", type=numbers, default=[5], metavar="N,N")
    parser.add_argument("--history", type=int, default=50, help="items of each history")
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    report = begin_report(args)
    for count in args.items:
        for domains in args.domains:
            with tempfile.TemporaryDirectory() as folder:
                catalogue = catalogue_of(count, domains)
                export_untrained(catalogue, args.dim, Path(folder))
                versions = Versions(Path(folder))
                versions.refresh()
                for rows in args.batches:
                    items, domain = (x.tolist() for x in histories(catalogue, rows, args.history))
                    for name, inputs in {
                        "serving_default": {"items": items, "domain": domain},
                        "each_domain": {"items": items, "k": [10] * rows},
                    }.items():
                        body = json.dumps({"signature_name": name, "inputs": inputs}).encode()
                        report["measurements"].append(
                            {"items": count, "domains": domains, "rows": rows, "signature": name}
                            | measured(versions, body, args.rounds)
                        )
                versions.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
