"""Where the target stands among the items of all domains: what next, anywhere?"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from data_prep import Catalogue, PreparedDataset
from tf_syncrec.evaluation import ALL_DOMAINS
from tf_syncrec.evaluation.full_ranking import (
    REPEATS,
    ModelScorer,
    Ranks,
    VectorScorer,
    collect_ranks,
    protocol,
    take_rows,
)
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.metrics.gains import MISS
from tf_syncrec.metrics.target_ranks import count_true, is_candidate, row_chunks, without


def all_domains_protocol(prepared: PreparedDataset) -> dict[str, Any]:
    """What ranking among all domains does, as `full_ranking.protocol` says it of one."""
    return {
        "name": ALL_DOMAINS,
        **protocol(prepared),
        "candidates": f"all items of all domains that occur in training{REPEATS}",
        "scores": "log-probabilities over the items of all domains, as the served model has them "
        "for domain ''",
    }


def rank_all_domains(
    scorer: ModelScorer | VectorScorer,
    batches: tf.data.Dataset,
    catalogue: Catalogue,
    mixture: DomainMixture | None = None,
) -> tuple[Ranks, Ranks]:
    """Ranks every target of a split against the candidates of all domains.

    Ties and targets never seen in training rank as in `metrics.target_ranks`.

    Args:
        scorer: what scores within a domain.
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        mixture: how scores of different domains compare; None: as they are.

    Returns:
        Ranks by the mixture, and by the scores as they are; without raw ids and histories.

    Raises:
        tf.errors.InvalidArgumentError: a score is not a finite number.
    """
    scorer.refresh()
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time
    as_they_are = [np.empty(0)]

    def rank(batch):
        queries = scorer.queries_of_domains(batch, len(sizes))
        log_domains: Any = mixture and mixture.log_domains(batch["items"])
        first = int(batch["domain"][0])  # its score is what others have to reach
        domains = [first, *(d for d in range(len(sizes)) if d != first)]
        found = np.zeros([2, len(batch["target"])])
        for chunk in row_chunks(found.shape[1], max(sizes)):
            excluded, targets = batch["excluded"][chunk], batch["target"][chunk]
            possible = is_candidate(targets, excluded)
            reached: list[Any] = []
            for d in domains:
                if not sizes[d]:
                    continue
                scores = scorer.scores(take_rows(queries[d], chunk), offsets[d], sizes[d])
                scores = tf.debugging.check_numerics(scores, "scores")
                scores = mixed = without(scores, excluded, offsets[d])
                if mixture:
                    totals = mixture.log_totals(scores, d)
                    mixed = mixture(scores, log_domains[chunk], totals, domain=d)
                if d == first:
                    place = tf.maximum(targets - offsets[d], 0)  # any, where there is none
                    reached = [tf.gather(x, place, batch_dims=1) for x in (mixed, scores)]
                for way, (x, own) in enumerate(zip((mixed, scores), reached, strict=False)):
                    found[way, chunk] += count_true(x >= own[:, None])
            found[:, chunk] = np.where(possible, found[:, chunk], MISS)
        as_they_are.append(found[1])
        return found[0]

    ranks = collect_ranks(rank, batches, with_rows=False)
    return ranks, dataclasses.replace(ranks, ranks=np.concatenate(as_they_are))
