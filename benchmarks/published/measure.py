"""Trains models on a log and says what they reach under a published protocol."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

import tf_syncrec
from benchmarks.published.sets import PublishedSet
from data_prep import InputError
from data_prep.files import write_whole
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.evaluation.sampled.expected import expected_metrics
from tf_syncrec.metrics.gains import METRICS, domain_metrics

Others = Mapping[str, Mapping[str, int]]
"""Of `PublishedSet.others`."""

SECONDS = "seconds.json"
"""Beside a run: how long all of it took, from the log to the report."""


class TestRanks(NamedTuple):
    """Where the test targets stand among all items of their domains.

    Attributes:
        domains: `[users]` names.
        ranks: `[users]`, 1 = best, infinite for a miss.
        others: `[users]`, from how many items the published protocol draws.
    """

    domains: np.ndarray
    ranks: np.ndarray
    others: np.ndarray

    def metrics(self, negatives: int | None) -> dict[str, dict[str, float]]:
        """`{domain: {metric: value}}` under a protocol of so many negatives; None: all items."""
        names, domains = np.unique(self.domains.astype(str), return_inverse=True)
        if negatives is None:
            return domain_metrics(self.ranks, domains, names.tolist())["domains"]
        found = expected_metrics(self.ranks, self.others, negatives, domains, names.tolist())
        return found["domains"]


def measure(
    of: PublishedSet,
    folder: Path,
    output: Path,
    models: Sequence[str],
    seeds: Sequence[str],
    options: Sequence[str],
) -> dict[str, Any]:
    """Runs every model with every seed, unless that is done, and reads what it reached.

    Args:
        of: the set.
        folder: where it is.
        output: where the log is, and the runs are or will be.
        models: as `compare` names them; networks of all domains are trained by `fit`, others by
            `compare` with one seed.
        seeds: of the networks.
        options: of `fit` and `compare`.

    Returns:
        `{model: {"seeds": [...], "domains": {domain: {metric: [a value a seed]}}, ...}}`.
    """
    log = output / f"{of.name}.tsv"
    given = ["--dataset", "interactions", "--path", str(log), *options]
    others = of.others(folder)
    found: dict[str, Any] = {}
    for model in models:
        name, place, runs = parse_name(model), output / of.name, {}
        if name.network is None or name.single:
            parts = {"": _compared(model, given, place / model.replace(":", "-"), others)}
        else:
            runs = {seed: place / f"{model}-seed{seed}" for seed in seeds}
            parts = {
                seed: _trained([*given, "--model", model, "--seed", seed], run, others)
                for seed, run in runs.items()
            }
        metrics = [ranks.metrics(of.negatives) for ranks, _ in parts.values()]
        found[model] = {
            "seeds": [seed for seed in parts if seed],
            "cost": [cost for _, cost in parts.values()],
            "domains": {
                domain: {name: [each[domain][name] for each in metrics] for name in METRICS}
                | {"users": metrics[0][domain]["users"]}
                for domain in metrics[0]
            },
        }
        if runs and of.negatives is not None:
            found[model]["drawn"] = _drawn(next(iter(runs.values())), of.negatives)
    return found


def _trained(options: Sequence[str], run: Path, others: Others) -> tuple[TestRanks, dict[str, Any]]:
    """Ranks of a run of `fit`, begun, gone on with, or finished before; and what it cost."""
    begun = run.exists()
    start = time.perf_counter()
    _call("tf_syncrec.fit", [*options, "--resume", "--output_dir", str(run)])
    if not begun:
        write_whole(run / SECONDS, json.dumps(time.perf_counter() - start))
    table = pq.read_table(run / "test_ranks.parquet", columns=["user_id", "domain", "rank"])
    ranks = _ranks(table["user_id"].to_pylist(), table["domain"], table["rank"], others)
    training = json.loads((run / "metrics.json").read_text())["training"]
    cost = {name: training[name] for name in ("epochs", "seconds_per_epoch", "peak_memory_mb")}
    if (run / SECONDS).exists():  # not of a run that was interrupted
        cost["seconds"] = json.loads((run / SECONDS).read_text())
    return ranks, cost


def _compared(
    model: str, options: Sequence[str], folder: Path, others: Others
) -> tuple[TestRanks, dict[str, Any]]:
    """The same of a model of `compare`, with one seed."""
    _call(
        "tf_syncrec.compare",
        [*options, "--models", model, "--seeds", "0", "--output_dir", str(folder)],
    )
    table = pq.read_table(folder / "ranks.parquet")
    (name,) = {model, f"{model}/seed0"} & set(table.column_names)
    # Its rows stand in the order of the user ids.
    users = sorted(others, key=str.encode)
    ranks = _ranks(users, table["domain"], table[name], others)
    cost = json.loads((folder / "comparison.json").read_text())["models"][model]["cost"]
    return ranks, {name: cost[name] for name in ("seconds", "peak_memory_mb")}


def _ranks(users: Sequence[str], domains, ranks, others: Others) -> TestRanks:
    names = domains.to_pylist()
    own = [others[user][domain] for user, domain in zip(users, names, strict=True)]
    return TestRanks(np.array(names, object), ranks.to_numpy(), np.array(own))


def _call(module: str, arguments: Sequence[str]) -> None:
    """A command in a process of its own, so that its memory is its own.

    Raises:
        InputError: it failed; it has said why.
    """
    done = subprocess.run([sys.executable, "-m", module, *arguments])
    if done.returncode:
        raise InputError(f"python -m {module} {shlex.join(arguments)} failed, see above")


def _drawn(run: Path, negatives: int) -> dict[str, Any]:
    """NDCG@10 against negatives that are really drawn, and what the average over draws is.

    Both draw from trained items alone, as `evaluate` does; the published protocol draws from all.
    """
    found = tf_syncrec.load(str(run)).evaluate_split("test", "sampled_domain", negatives=negatives)
    return {
        domain: {"drawn": found["test"]["domains"][domain]["ndcg@10"], "expected": row["ndcg@10"]}
        for domain, row in found["expected"]["test"]["domains"].items()
    }
