"""The whole next basket: where all stand that a user did at one moment."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue, PreparedDataset
from tf_syncrec.data.batches import with_history
from tf_syncrec.evaluation import NEXT_BASKET
from tf_syncrec.evaluation.full_ranking import Batches, Scorer, protocol, take_rows
from tf_syncrec.metrics.gains import CUT_OFFS, MISS, user_gains
from tf_syncrec.metrics.target_ranks import row_chunks, target_ranks


def next_basket_protocol(prepared: PreparedDataset) -> dict[str, Any]:
    """What it ranks, as `full_ranking.protocol` says it of single targets."""
    return {
        "name": NEXT_BASKET,
        **protocol(prepared),
        "targets": "all that the user did in the target's domain at the target's time, as a set",
        "history": "all that the user did before that time; users without any are left out",
        "recall": "the share of the set that is among the first k",
        "ndcg": "the sum of 1 / log2(1 + rank) over the set, ranks up to k, divided by what it is "
        "where the first ranks are all of the set",
    }


@dataclasses.dataclass(frozen=True)
class BasketRanks:
    """Ranks of sets of targets.

    Attributes:
        domains: `[users]` int32, of those who did anything before.
        sizes: `[users]`, items of each set, also those that training never saw.
        ranks: `[users, any]` float64, of the items of each set, in any order, and `MISS`.
        left_out: how many users did nothing before.
    """

    domains: np.ndarray
    sizes: np.ndarray
    ranks: np.ndarray
    left_out: int

    def metrics(self, names: Sequence[str]) -> dict[str, Any]:
        """`{"overall": R, "domains": {domain: R}, "users_left_out": n}`.

        R is `{"users", "size", "recall@k", "ndcg@k"}`, k of `CUT_OFFS`, means over users; size is
        the mean number of items of a set.
        """
        rows = {name: self._mean(self.domains == d) for d, name in enumerate(names)}
        overall = self._mean(np.ones(len(self.sizes), bool))
        return {"overall": overall, "domains": rows, "users_left_out": self.left_out}

    def _mean(self, which: np.ndarray) -> dict[str, Any]:
        sizes, ranks = self.sizes[which], self.ranks[which]
        found: dict[str, np.ndarray] = {"size": sizes}
        for k in CUT_OFFS:
            found[f"recall@{k}"] = (ranks <= k).sum(axis=1) / sizes
        for k in CUT_OFFS:
            ideal = np.cumsum(1 / np.log2(np.arange(2, k + 2)))[np.minimum(sizes, k) - 1]
            found[f"ndcg@{k}"] = user_gains(ranks, f"ndcg@{k}").sum(axis=1) / ideal
        means = {name: float(x.mean()) if len(x) else 0.0 for name, x in found.items()}
        return {"users": len(sizes)} | means


def rank_baskets(scorer: Scorer, batches: Batches, catalogue: Catalogue) -> BasketRanks:
    """Ranks each item of each next basket among all candidates of its domain.

    The others of the basket compete as well. Ties and items never seen in training count as in
    `metrics.target_ranks`.

    Args:
        scorer: what scores.
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.

    Raises:
        tf.errors.InvalidArgumentError: a score is not a finite number.
    """
    scorer.refresh()
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    found, left_out = [(np.zeros(0, np.int32), np.zeros(0, int), np.zeros([0, 1]))], 0
    for whole in batches:
        batch = _before(whole, catalogue)
        domain, rows = int(whole["domain"][0]), len(batch["basket_size"])
        left_out += len(whole["basket_size"]) - rows
        ranks = np.full([rows, batch["basket"].shape[1]], MISS)
        if sizes[domain] and rows:
            queries = scorer.queries(batch)
            for chunk in row_chunks(rows, sizes[domain]):
                scores = scorer.scores(take_rows(queries, chunk), offsets[domain], sizes[domain])
                excluded = batch["excluded"][chunk]
                for place, items in enumerate(tf.unstack(batch["basket"][chunk], axis=1)):
                    ranks[chunk, place] = target_ranks(scores, excluded, items, offsets[domain])
        found.append((batch["domain"].numpy(), batch["basket_size"].numpy(), ranks))
    width = max(ranks.shape[1] for *_, ranks in found)
    padded = [np.pad(x, [(0, 0), (0, width - x.shape[1])], constant_values=MISS) for *_, x in found]
    domains, counts = (np.concatenate([part[column] for part in found]) for column in (0, 1))
    return BasketRanks(domains, counts, np.concatenate(padded), left_out)


def _before(batch, catalogue: Catalogue):
    """The rows that have a history before the moment of the target, with that history alone."""
    earlier = (batch["items"] > 0) & (batch["timestamps"] < batch["target_timestamp"][:, None])
    rows = tf.where(tf.reduce_any(earlier, axis=1))[:, 0]
    batch = with_history(batch, earlier, catalogue)
    return {name: tf.gather(part, rows) for name, part in batch.items()}
