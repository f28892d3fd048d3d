"""What the finished cells of a comparison say: ranks, means, spreads, differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import tf_syncrec
from data_prep import PreparedDataset
from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.verdicts import negative_transfer
from tf_syncrec.config import Config
from tf_syncrec.evaluation.breakdown import breakdown, group_targets
from tf_syncrec.evaluation.ranking import Ranks, protocol
from tf_syncrec.evaluation.significance import compare_to_reference
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC, user_gains
from tf_syncrec.models.registry import ABLATIONS


class ModelRanks:
    """Test ranks of one model, users in one order.

    Attributes:
        seeds: in rising order.
        seeded: whether chance has a part in it.
        user_ids: `[users]` bytes, sorted.
        domains: `[users]` name of the target's domain.
        ranks: `[seeds, users]`.
        cold: `[users]` bool.
    """

    def __init__(self, root: Path, cells: Sequence[Cell], seeds: Sequence[int]):
        self.seeds, self.seeded = tuple(seeds), cells[0].model.seeded
        rows = []
        for seed in seeds:
            tables = [
                pq.read_table(cell.directory(root) / "ranks.parquet")
                for cell in cells
                if cell.seed == seed
            ]
            columns = {
                name: np.concatenate([table[name].to_numpy() for table in tables])
                for name in ("user_id", "domain", "rank", "cold")
            }
            order = np.argsort(columns["user_id"])
            rows.append({name: column[order] for name, column in columns.items()})
        self.user_ids = np.array([user.encode() for user in rows[0]["user_id"]], object)
        self.domains = rows[0]["domain"]
        self.cold = rows[0]["cold"]
        self.ranks = np.stack([row["rank"] for row in rows])

    def gains(self, metric: str) -> np.ndarray:
        """Values of a metric, `[seeds, users]`."""
        return np.stack([user_gains(ranks, metric) for ranks in self.ranks])


def read_ranks(root: Path, cells: Sequence[Cell]) -> dict[str, ModelRanks]:
    """Test ranks of each model, by its name, from finished cells.

    Raises:
        ValueError: two models were ranked on different users.
    """
    found: dict[str, ModelRanks] = {}
    for text in dict.fromkeys(cell.model.text for cell in cells):
        own = [cell for cell in cells if cell.model.text == text]
        found[text] = ModelRanks(root, own, sorted({cell.seed for cell in own}))
    first, *others = found.items()
    for text, other in others:
        if not np.array_equal(other.user_ids, first[1].user_ids):
            raise ValueError(f"{text} and {first[0]} were ranked on different users")
    return found


def rank_table(ranks: Mapping[str, ModelRanks]) -> pa.Table:
    """All that the numbers are computed from, without anybody's id: a row a test user.

    Args:
        ranks: of `read_ranks`.

    Returns:
        Columns `domain` (of the target), `cold` (never seen in training), and for each model and
        seed `MODEL/seedN`, `MODEL` where chance has no part in it: the rank, 1 = best. Rows stand
        in the order of the user ids.
    """
    first = next(iter(ranks.values()))
    columns = {"domain": pa.array(first.domains, pa.string()), "cold": pa.array(first.cold)}
    for text, one in ranks.items():
        for seed, values in zip(one.seeds, one.ranks, strict=True):
            name = f"{text}/seed{seed}" if one.seeded else text
            columns[name] = pa.array(values, pa.int32())
    return pa.table(columns)


def assemble(
    root: Path,
    cells: Sequence[Cell],
    ranks: Mapping[str, ModelRanks],
    reference: str,
    prepared: PreparedDataset,
    config: Config,
) -> dict[str, Any]:
    """Reads the cells and compares the models: means over the seeds of each, however many it has.

    Args:
        root: directory of the comparison; all cells are finished.
        cells: what was compared.
        ranks: of `read_ranks`.
        reference: name of the model that the others are measured against.
        prepared: the dataset.
        config: what all models share.

    Returns:
        What `comparison.json` holds, plain JSON values.
    """
    names = list(prepared.catalogue.domains)
    models = {cell.model.text: cell.model for cell in cells}
    of_model = {text: [c for c in cells if c.model.text == text] for text in models}
    first = ranks[reference]
    index = np.array([names.index(name) for name in first.domains], int)
    means = {
        metric: {text: one.gains(metric).mean(axis=0) for text, one in ranks.items()}
        for metric in (SELECTION_METRIC, "hr@10")
    }
    against = {
        metric: compare_to_reference(values, reference, index, names)
        for metric, values in means.items()
    }
    groups = group_targets(prepared, "test")
    gains = {text: one.gains(SELECTION_METRIC) for text, one in ranks.items()}
    stand_ins = {(cell.model.text, cell.domain) for cell in cells if cell.result(root)["stand_in"]}
    results = {}
    for text, model in models.items():
        results[text] = {
            "about": model.about,
            "settings": dict(model.network.settings) if model.network else {},
            "seeds": list(ranks[text].seeds) if model.seeded else [],
            "test": _spread(ranks[text], index, names),
            "against_reference": {
                metric: found[text] for metric, found in against.items() if text in found
            },
            "breakdown": _mean_of(
                [
                    breakdown(_as_ranks(ranks[text], seed, index), groups)
                    for seed in range(len(ranks[text].seeds))
                ]
            ),
            "cost": _cost(root, of_model[text]),
        }
    return {
        "protocol": protocol(prepared),
        "domains": names,
        "config": config.model_dump(),
        "versions": {module.__name__: module.__version__ for module in (tf_syncrec, tf, keras)},
        "reference": reference,
        "cold_target_share": float(first.cold.mean()),
        "models": results,
        "negative_transfer": negative_transfer(models, gains, index, names, stand_ins),
        "ablation": {label: text for label, text in ABLATIONS.items() if text in models},
        "cells": [
            {
                "model": c.model.text,
                "seed": c.seed,
                "domain": c.domain,
                "settings": dict(c.settings),
            }
            | c.result(root)
            for c in cells
        ],
    }


def _spread(ranks: ModelRanks, index: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """`{"overall": R, "domains": {name: R}}`, each metric of R with mean and spread over seeds."""

    def row(users):
        values = {metric: ranks.gains(metric)[:, users] for metric in METRICS}
        return {"users": int(users.sum())} | {
            metric: {
                "mean": float(gains.mean()) if gains.size else 0.0,
                "std": float(gains.mean(axis=1).std(ddof=1))
                if len(gains) > 1 and gains.size
                else None,
                "values": gains.mean(axis=1).tolist() if gains.size else [],
            }
            for metric, gains in values.items()
        }

    return {
        "overall": row(np.ones(len(index), bool)),
        "domains": {name: row(index == d) for d, name in enumerate(names)},
    }


def _cost(root: Path, cells: Sequence[Cell]) -> dict[str, Any]:
    """Means over seeds; of models by domain the sums, but for memory, which is the largest."""
    costs = [(cell, cell.result(root)["cost"]) for cell in cells]
    seeds = len({cell.seed for cell in cells})

    def total(key):
        values = [cost[key] for _, cost in costs if key in cost]
        return sum(values) / seeds if values else None

    return {
        "seconds": total("seconds"),
        "seconds_per_epoch": total("seconds_per_epoch"),
        "parameters": total("parameters"),
        "peak_memory_mb": max(cost["peak_memory_mb"] for _, cost in costs),
        "epochs": [cost["epochs"] for _, cost in costs if "epochs" in cost],
    }


def _as_ranks(ranks: ModelRanks, seed: int, index: np.ndarray) -> Ranks:
    empty = np.empty(0, object)
    return Ranks(ranks.user_ids, index, empty, ranks.cold, ranks.ranks[seed], empty, empty)


def _mean_of(trees: Sequence[Any]) -> Any:
    """Means of the numbers in trees of the same shape."""
    if isinstance(trees[0], dict):
        return {key: _mean_of([tree[key] for tree in trees]) for key in trees[0]}
    mean = sum(trees) / len(trees)
    return int(mean) if all(isinstance(tree, int) for tree in trees) else mean
