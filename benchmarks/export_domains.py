"""What an export and the start of a server cost, by the number of domains.

    python -m benchmarks.export_domains [--domains 1,4,16] [--items 10]

Prints JSON: CPU seconds of the export, and of loading it with its warm-up as the local server does,
and the size of the graph. Models are tiny, so that it is the graph that costs.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from data_prep import Catalogue
from serving.export import export
from serving.server.loaded_version import LoadedVersion
from tf_syncrec.config import Config
from tf_syncrec.models.syncrec import SyNCRec

SETTINGS = {"model": {"dim": 8, "experts": 2, "cross_experts": 1, "blocks": 1, "neighbours": 4}}


def measure(domains: int, items: int) -> dict[str, float]:
    """Of a model with so many domains of so many items each."""
    number = domains * items
    catalogue = Catalogue(
        tuple(f"domain {d:03}" for d in range(domains)),
        np.array([f"item {i}" for i in range(number)], object),
        np.repeat(np.arange(domains, dtype=np.int32), items),
        np.ones(number, np.int64),
    )
    config = Config.model_validate(SETTINGS)
    model = SyNCRec.from_settings(config, catalogue.sizes)
    layer = model.neighbours
    assert layer is not None
    layer.weight.assign(1.0)  # as with votes that were fitted
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        version = export(model, catalogue, Path(folder) / "model", config.evaluate)
        exported = time.process_time()
        LoadedVersion(version)
        return {
            "export_cpu_seconds": round(exported - start, 1),
            "load_cpu_seconds": round(time.process_time() - exported, 1),
            "graph_kib": (version / "saved_model.pb").stat().st_size // 1024,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", default="1,4,16", help="numbers of domains")
    parser.add_argument("--items", type=int, default=10, help="of each")
    args = parser.parse_args()
    numbers = [int(number) for number in args.domains.split(",")]
    print(json.dumps({number: measure(number, args.items) for number in numbers}, indent=1))


if __name__ == "__main__":
    main()
