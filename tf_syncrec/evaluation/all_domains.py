"""Where the target stands among the items of all domains: what next, anywhere?"""

from collections.abc import Callable
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
    candidates_of = candidates_by(mixture)

    def rank(batch):
        queries = scorer.queries_of_domains(batch, len(sizes))
        log_domains = log_domains_by(mixture, batch["items"])
        first = int(batch["domain"][0])  # its score is what others have to reach
        domains = [first, *(d for d in range(len(sizes)) if d != first)]
        found = np.zeros([2, len(batch["target"])])
        for chunk in row_chunks(found.shape[1], max(sizes)):
            excluded, targets = batch["excluded"][chunk], batch["target"][chunk]
            possible = is_candidate(targets, excluded)
            reached: Any = [tf.zeros(len(targets))] * 2  # of a domain without items, all are misses
            for d in domains:
                if not sizes[d]:
                    continue
                scores = scorer.scores(take_rows(queries[d], chunk), offsets[d], sizes[d])
                ways = candidates_of(scores, excluded, log_domains[chunk], d, offsets[d])
                if d == first:
                    place = tf.maximum(targets - offsets[d], 0)  # any, where there is none
                    reached = [tf.gather(x, place, batch_dims=1) for x in ways]
                found[:, chunk] += _at_least(*ways, *reached)
            found[:, chunk] = np.where(possible, found[:, chunk], MISS)
        return found

    ranks = collect_ranks(rank, batches, with_rows=False, beside=["as they are"])
    return ranks, ranks.by("as they are")


def log_domains_by(mixture: DomainMixture | None, items):
    """Log P(d | h) as `candidates_by` takes it, `[batch, any]`."""
    return tf.zeros([len(items), 0]) if mixture is None else mixture.log_domains(items)


def candidates_by(mixture: DomainMixture | None) -> Callable[..., tuple[Any, Any]]:
    """How candidates of a domain stand beside those of others.

    Returns:
        Of scores `[rows, size]` of all items of a domain, items that are no candidates
        `[rows, any]`, `log_domains_by`, the domain and its first item id: scores by the mixture and
        as they are, `[rows, size]`, -inf for who is no candidate. It fails where a score is not a
        finite number.
    """

    # Traced, as one operation at a time costs more than what is computed.
    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.float32),
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.float32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.int32),
        ],
    )
    def candidates(scores, excluded, log_domains, domain, offset):
        scores = tf.debugging.check_numerics(scores, "scores")
        scores = without(scores, excluded, offset)
        if mixture is None:
            return scores, scores
        totals = mixture.log_totals(scores, domain)
        return mixture(scores, log_domains, totals, domain=domain), scores

    return candidates


@tf.function(
    autograph=False,
    input_signature=[
        *([tf.TensorSpec([None, None], tf.float32)] * 2),
        *([tf.TensorSpec([None], tf.float32)] * 2),
    ],
)
def _at_least(mixed, as_they_are, own_mixed, own):
    """How many reach the target's score, by the mixture and as they are, `[2, rows]`."""
    ways = (mixed, own_mixed), (as_they_are, own)
    return tf.stack([count_true(scores >= reached[:, None]) for scores, reached in ways])
