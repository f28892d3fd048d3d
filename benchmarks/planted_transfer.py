"""Does λ find the planted domain, and what is each part of SyNCRec worth there?

    python -m benchmarks.planted_transfer --seeds 0,1,2,3,4 --output_dir runs/planted

Trains SyNCRec and the variants of the paper's Table 5 on the synthetic dataset, whose domain
`contrary` is misled by the others, and prints λ and NDCG@10 in `contrary`, in the others and
overall: the paper's central claim (section 5.5, Table 5). Finished runs are kept and not trained
again. What else is given goes on to `fit`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from tf_syncrec.fit import main as fit
from tf_syncrec.models.registry import ABLATIONS, FULL, NETWORKS
from tf_syncrec.reporting.terminal_tables import mean_and_spread

PLANTED = "contrary"
VARIANTS = {"full": FULL} | ABLATIONS


def metrics_of(run: Path, seed: str, settings: Mapping[str, Any], options: Sequence[str]) -> dict:
    """Metrics of one run, trained unless it is there.

    Args:
        run: its directory.
        seed: of the training.
        settings: of this run, by name.
        options: of `fit`, for all runs; by default on the synthetic dataset.
    """
    if not (run / "metrics.json").exists():
        given = [
            argument
            for name, value in settings.items()
            for argument in ("--set", f"{name}={json.dumps(value)}")
        ]
        source = [] if "--dataset" in options else ["--dataset", "synthetic"]
        fit([*source, "--seed", seed, "--output_dir", str(run), *options, *given])
    return json.loads((run / "metrics.json").read_text())


def summary(metrics: dict) -> dict[str, float]:
    """What is compared, of one run."""
    transfer, domains = metrics["negative_transfer"], metrics["test"]["domains"]
    shared = [result["ndcg@10"] for name, result in domains.items() if name != PLANTED]
    return {
        f"λ of {PLANTED}": transfer[PLANTED]["lambda"],
        "lowest λ of the others": min(v["lambda"] for d, v in transfer.items() if d != PLANTED),
        f"gap of {PLANTED}": transfer[PLANTED]["gap"],
        PLANTED: domains[PLANTED]["ndcg@10"],
        "shared": float(np.mean(shared)),
        "overall": metrics["test"]["overall"]["ndcg@10"],
    }


def over_seeds(values: np.ndarray, sign: str = "") -> str:
    """`mean ± standard deviation`."""
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return mean_and_spread({"mean": float(values.mean()), "std": deviation}, sign)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/planted"))
    args, options = parser.parse_known_args()

    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for seed in args.seeds.split(","):
        for name, network in VARIANTS.items():
            run, settings = args.output_dir / f"{network}-seed{seed}", NETWORKS[network].settings
            found[name].append(summary(metrics_of(run, seed, settings, options)))
    columns = list(found["full"][0])
    values = {name: np.array([list(row.values()) for row in rows]) for name, rows in found.items()}
    rows = [[name, *map(over_seeds, of.T)] for name, of in values.items()]
    print(tabulate(rows, ["variant", *columns], disable_numparse=True, tablefmt="github"))

    places = [columns.index(place) for place in (PLANTED, "shared", "overall")]
    rows = []
    for name, of in values.items():
        if name != "full":
            less = (values["full"] - of)[:, places].T
            higher = [f"{(place > 0).sum()} of {len(place)}" for place in less]
            cells = [
                f"{over_seeds(place, '+')}, higher with {seeds}"
                for place, seeds in zip(less, higher, strict=True)
            ]
            rows.append([name, *cells])
    headers = ["full less, with the same seed", PLANTED, "shared", "overall"]
    print()
    print(tabulate(rows, headers, disable_numparse=True, tablefmt="github"))


if __name__ == "__main__":
    main()
