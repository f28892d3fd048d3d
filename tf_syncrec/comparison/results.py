"""What the finished cells of a comparison say: ranks, means, spreads, differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

import tf_syncrec
from data_prep import PreparedDataset
from tf_syncrec.comparison.cells import RANKS, WITHOUT_VOTES, Cell
from tf_syncrec.comparison.verdicts import negative_transfer, with_votes
from tf_syncrec.config import Config
from tf_syncrec.evaluation.breakdown import breakdown, group_targets
from tf_syncrec.evaluation.full_ranking import protocol
from tf_syncrec.evaluation.significance import compare_to_reference
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC, user_gains
from tf_syncrec.models.registry import ABLATIONS

PARTNER = "partner"
"""Column of `read_ranks`: of models by pair, the domain beside the target's."""


class ModelRanks(NamedTuple):
    """Test ranks of one model, users in one order.

    Attributes:
        seeds: in rising order.
        seeded: whether chance has a part in it.
        user_ids: `[users]`, sorted.
        domains: `[users]` name of the target's domain.
        cold: `[users]` bool.
        ranks: `[trainings, users]`, by the score that would be served: one training a seed, of
            models by pair as many a seed as a domain has others, in the order of their names.
        without_votes: likewise, by the network alone; None where neighbours never vote.
    """

    seeds: Sequence[int]
    seeded: bool
    user_ids: np.ndarray
    domains: np.ndarray
    cold: np.ndarray
    ranks: np.ndarray
    without_votes: np.ndarray | None

    @property
    def own(self) -> np.ndarray:
        """As `ranks`, what the model itself says, whatever is fitted on top."""
        return self.ranks if self.without_votes is None else self.without_votes

    def by_partner(self, values: np.ndarray) -> np.ndarray:
        """`[trainings, users]` as `[seeds, others of the domain, users]`, 1 but for pairs."""
        partners = len(values) // len(self.seeds)
        return values.reshape(len(self.seeds), partners, values.shape[1])

    def gains(self, metric: str, ranks: np.ndarray | None = None) -> np.ndarray:
        """A metric `[seeds, users]`, of pairs its mean over these.

        Args:
            metric: one of `METRICS`.
            ranks: `[trainings, users]`; None: `ranks`.
        """
        return self.by_partner(user_gains(self.ranks if ranks is None else ranks, metric)).mean(1)


def read_ranks(root: Path, cells: Sequence[Cell]) -> dict[str, ModelRanks]:
    """Test ranks of each model, by its name, from finished cells.

    Raises:
        ValueError: two models were ranked on different users.
    """
    found: dict[str, ModelRanks] = {}
    for text in dict.fromkeys(cell.model.text for cell in cells):
        own = [cell for cell in cells if cell.model.text == text]
        seeds = sorted({cell.seed for cell in own})
        tables, voting = [], False
        for seed in seeds:
            of_seed = [cell for cell in own if cell.seed == seed]
            parts = [pq.read_table(cell.directory(root) / RANKS) for cell in of_seed]
            voting |= any(WITHOUT_VOTES in part.column_names for part in parts)
            parts = [_complete(part, c.domains) for part, c in zip(parts, of_seed, strict=True)]
            # A domain without users may have columns of no type.
            whole = pa.concat_tables(parts, promote_options="default")
            whole = whole.sort_by([("user_id", "ascending"), (PARTNER, "ascending")])
            partners = max(whole.num_rows // max(len(whole["user_id"].unique()), 1), 1)
            tables += [whole.take(np.arange(n, whole.num_rows, partners)) for n in range(partners)]
        of_network = np.stack([table[WITHOUT_VOTES].to_numpy() for table in tables])
        found[text] = ModelRanks(
            seeds=seeds,
            seeded=own[0].model.seeded,
            user_ids=tables[0]["user_id"].to_numpy(),
            domains=tables[0]["domain"].to_numpy(),
            cold=tables[0]["cold"].to_numpy(),
            ranks=np.stack([table["rank"].to_numpy() for table in tables]),
            without_votes=of_network if voting else None,
        )
    first, *others = found.items()
    for text, other in others:
        if not np.array_equal(other.user_ids, first[1].user_ids):
            raise ValueError(f"{text} and {first[0]} were ranked on different users")
    return found


def _complete(table: pa.Table, domains: Sequence[str]) -> pa.Table:
    """Ranks of a cell with both columns of ranks and `PARTNER`; without votes they are the same."""
    if WITHOUT_VOTES not in table.column_names:
        table = table.append_column(WITHOUT_VOTES, table["rank"])
    first, second = domains if len(domains) == 2 else ("", "")
    is_first = pc.equal(table["domain"].cast(pa.string()), first)
    return table.append_column(PARTNER, pc.if_else(is_first, second, first))


def rank_table(ranks: Mapping[str, ModelRanks]) -> pa.Table:
    """All that the numbers are computed from, without anybody's id: a row a test user.

    Args:
        ranks: of `read_ranks`.

    Returns:
        Columns `domain` (of the target), `cold` (never seen in training), and for each model and
        seed `MODEL/seedN`, `MODEL` where chance has no part in it: the rank, 1 = best, infinite
        for a miss. Where more is on top, also `MODEL/seedN/without_votes`. Of models by pair each
        column has `/partnerN` after the seed: the pair with the N-th other domain, by name. Rows
        stand in the order of the user ids.
    """
    first = next(iter(ranks.values()))
    columns = {"domain": pa.array(first.domains, pa.string()), "cold": pa.array(first.cold)}
    for text, one in ranks.items():
        found = {"": one.by_partner(one.ranks)}
        if one.without_votes is not None:
            found["/without_votes"] = one.by_partner(one.without_votes)
        for number, seed in enumerate(one.seeds):
            name = f"{text}/seed{seed}" if one.seeded else text
            for suffix, values in found.items():
                for partner, of_users in enumerate(values[number], start=1):
                    which = f"/partner{partner}" if len(values[number]) > 1 else ""
                    columns[f"{name}{which}{suffix}"] = pa.array(of_users, pa.float64())
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
    first = ranks[reference]
    index = np.array([names.index(name) for name in first.domains], int)
    users = np.array([user.encode() for user in first.user_ids], object)
    gains = {metric: {text: one.gains(metric) for text, one in ranks.items()} for metric in METRICS}
    against = {
        metric: compare_to_reference(
            {text: values.mean(axis=0) for text, values in gains[metric].items()},
            reference,
            index,
            names,
        )
        for metric in (SELECTION_METRIC, "hr@10")
    }
    # Votes count other things alone than merged: what learning does, the network says by itself.
    transfer = negative_transfer(
        models,
        {text: one.gains(SELECTION_METRIC, one.own) for text, one in ranks.items()},
        index,
        names,
        {(cell.model.text, cell.domain) for cell in cells if cell.result(root)["stand_in"]},
    )
    voting = {text for text, one in ranks.items() if one.without_votes is not None}
    groups = group_targets(prepared, "test")
    results = {}
    for text, model in models.items():
        of_metrics = {metric: values[text] for metric, values in gains.items()}
        results[text] = {
            "about": model.about,
            "several_domains": model.several_domains,
            "settings": dict(model.network.settings) if model.network else {},
            "seeds": list(ranks[text].seeds) if model.seeded else [],
            "test": {
                "overall": _spread(of_metrics, np.ones(len(index), bool)),
                "domains": {name: _spread(of_metrics, index == d) for d, name in enumerate(names)},
            },
            "against_reference": {
                metric: found[text] for metric, found in against.items() if text in found
            },
            "pairs": _pairs(ranks[text], names) if model.by_pair else {},
            "breakdown": breakdown(users, ranks[text].ranks, groups),
            "cost": _cost(root, [cell for cell in cells if cell.model.text == text]),
        }
    return {
        "protocol": protocol(prepared),
        "domains": names,
        "config": config.model_dump(),
        "versions": {module.__name__: module.__version__ for module in (tf_syncrec, tf, keras)},
        "reference": reference,
        "cold_target_share": float(first.cold.mean()),
        "models": results,
        "negative_transfer": transfer,
        "negative_transfer_with_votes": with_votes(
            transfer, models, gains[SELECTION_METRIC], voting, index, names
        ),
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


def _pairs(ranks: ModelRanks, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Of a model by pair, NDCG@10 of each domain by the other one, `{domain: {other: mean}}`."""
    gains = ranks.by_partner(user_gains(ranks.ranks, SELECTION_METRIC)).mean(axis=0)
    found = {}
    for name in names:
        own = gains[:, ranks.domains == name]
        others = [other for other in sorted(names) if other != name]
        if own.size:
            found[name] = dict(zip(others, own.mean(axis=1).tolist(), strict=True))
    return found


def _spread(gains: Mapping[str, np.ndarray], users: np.ndarray) -> dict[str, Any]:
    """Of metrics `[seeds, users]`, mean and spread over seeds, of some users."""
    found: dict[str, Any] = {"users": int(users.sum())}
    for metric, values in gains.items():
        of_users = values[:, users]
        means = of_users.mean(axis=1) if of_users.size else np.zeros(0)
        found[metric] = {
            "mean": float(of_users.mean()) if of_users.size else 0.0,
            "std": float(means.std(ddof=1)) if len(means) > 1 else None,
            "values": means.tolist(),
        }
    return found


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
