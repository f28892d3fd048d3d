"""What the scripts that measure serving share: sizes, report, models to serve, requests to send."""

import argparse
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow as tf

from data_prep import Catalogue
from serving.export import export
from tf_syncrec.config import Config
from tf_syncrec.models.syncrec import SyNCRec


def numbers(text: str) -> list[int]:
    """`"1,64"` as an option."""
    return [int(part) for part in text.split(",")]


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Options for the sizes that a script goes through."""
    parser.add_argument("--items", type=numbers, default=[100_000, 1_000_000], metavar="N,N")
    parser.add_argument("--batches", type=numbers, default=[1, 64], metavar="N,N")
    parser.add_argument("--dim", type=int, default=64, help="r")


def begin_report(args: argparse.Namespace) -> dict[str, Any]:
    """What is measured and where; `measurements` is an empty list."""
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "tensorflow": tf.__version__,
        "settings": vars(args),
        "measurements": [],
    }


def catalogue_of(items: int, domains: int) -> Catalogue:
    """Items shared out evenly, with ids as long as Amazon's."""
    return Catalogue(
        tuple(f"domain {d}" for d in range(domains)),
        np.array([f"B{i:09d}" for i in range(items)], object),
        np.sort(np.arange(items, dtype=np.int32) % domains),
        np.ones(items, np.int64),
    )


def export_untrained(
    catalogue: Catalogue, dim: int, export_dir: Path, keep: int = 5, index: str = "exact"
) -> Path:
    """Exports a model as it is initialised, with neighbours drawn at random that vote.

    What it costs does not depend on what it knows.
    """
    settings = {"model": {"dim": dim, "neighbours": 20}, "evaluate": {"keep_versions": keep}}
    config = Config.model_validate(settings)
    model = SyNCRec.from_settings(config, catalogue.sizes)
    neighbours = model.neighbours
    assert neighbours is not None
    others = np.random.default_rng(0).integers(1, catalogue.num_items + 1, neighbours.others.shape)
    neighbours.set_lists(others, np.ones(others.shape, np.float32))
    neighbours.weight.assign(1.0)
    neighbours.decay.assign(0.9)
    return export(model, catalogue, export_dir, config.evaluate, index)


def histories(catalogue: Catalogue, rows: int, length: int, seed: int = 0):
    """`(items [rows, length], domain [rows])` of random users, each asking for one domain."""
    rng = np.random.default_rng(seed)
    items = rng.choice(catalogue.item_ids, (rows, length))
    return items, np.array(rng.choice(catalogue.domains, rows), object)


class Load:
    """Clients that ask again as soon as they are answered.

    Args:
        url: of a server.
        bodies: JSON requests, one a client, sent again and again.

    Attributes:
        seconds: of each answer, in order of their coming.
        failures: what went wrong instead.
    """

    def __init__(self, url: str, bodies: list[bytes]):
        self._predict = f"{url}/v1/models/syncrec:predict"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(body,)) for body in bodies]
        self.seconds: list[float] = []
        self.failures: list[str] = []

    def _ask(self, body):
        with requests.Session() as session:
            while not self._stop.is_set():
                start = time.perf_counter()
                try:
                    response = session.post(self._predict, data=body, timeout=60)
                    failure = None if response.ok else f"{response.status_code} {response.text}"
                except requests.RequestException as error:
                    failure = repr(error)
                if failure:
                    self.failures.append(failure[:200])
                else:
                    self.seconds.append(time.perf_counter() - start)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def percentiles(seconds) -> dict[str, float]:
    """p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
