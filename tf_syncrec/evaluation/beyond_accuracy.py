"""What the answers are like apart from being right: coverage, novelty, diversity, popularity."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.batches import first_users
from tf_syncrec.evaluation.all_domains import candidates_by, log_domains_by
from tf_syncrec.evaluation.full_ranking import ModelScorer, Scorer, take_rows
from tf_syncrec.layers.score_terms.domain_mixture import DomainMixture
from tf_syncrec.metrics.answer_lists import (
    LIST_METRICS,
    coverage,
    gini,
    intra_list_diversity,
    mean_of_lists,
    popularity_bias,
    self_information,
)
from tf_syncrec.metrics.target_ranks import row_chunks, without
from tf_syncrec.utils.parallel import parallel_map

K = 10
"""Length of the lists that are looked at."""

USERS, USERS_OF_EXPOSURE = 5_000, 500
"""Users of a domain at most: a list costs a ranking, one of all domains as many as there are."""


class Answers(NamedTuple):
    """The lists of some users, and what they took next.

    Attributes:
        domains: `[users]`, domain of the target, in which the list is.
        targets: `[users]` item ids; 0: never in training.
        items: `[users, K]` item ids, best first; 0 where a domain has no more candidates.
    """

    domains: np.ndarray
    targets: np.ndarray
    items: np.ndarray


def measure_answers(
    scorer: ModelScorer,
    batches: Iterable,
    catalogue: Catalogue,
    mixture: DomainMixture | None,
    vectors: Callable[[np.ndarray], Any],
) -> dict[str, Any]:
    """All of this page, for `metrics.json`.

    Args:
        scorer: of a trained model.
        batches: of `data.batches.evaluation_batches`.
        catalogue: items and domains.
        mixture: how scores of different domains compare.
        vectors: item ids -> their vectors, for `intra_list_diversity`.

    Returns:
        `{"k", "overall": B, "domains": {name: B}}` with `B = {"users", "coverage", "novelty",
        "diversity", "popularity_bias", "gini"}` as in `metrics.answer_lists`; in domains also
        `exposure` and `targets`: of lists of all domains, the part of places that the domain has,
        beside the part of the users whose next item is in it. Plain JSON numbers.
    """
    answers = top_answers(scorer, batches, catalogue)
    diversity = np.concatenate(
        [
            np.zeros(0),
            *(
                intra_list_diversity(part, np.asarray(vectors(part)))
                for part in np.array_split(answers.items, max(1, len(answers.items) // 512))
            ),
        ]
    )
    exposed = domain_exposure(scorer, batches, catalogue, mixture)
    of_targets = np.bincount(answers.domains, minlength=catalogue.num_domains)
    domains = {}
    for d, name in enumerate(catalogue.domains):
        row = _row(answers, diversity, answers.domains == d, catalogue, [d])
        shares = {
            "exposure": float(exposed[d]),
            "targets": float(of_targets[d] / max(of_targets.sum(), 1)),
        }
        domains[name] = row | shares
    everybody = np.ones(len(answers.domains), bool)
    overall = _row(answers, diversity, everybody, catalogue, catalogue.item_domains)
    return {"k": K, "overall": overall, "domains": domains}


def top_answers(scorer: Scorer, batches: Iterable, catalogue: Catalogue) -> Answers:
    """The `K` best candidates of up to `USERS` users of each domain, as ranking scores them."""
    scorer.refresh()
    nobody = Answers(np.zeros(0, int), np.zeros(0, int), np.zeros([0, K], int))

    def of_users(users) -> list[Answers]:
        domain, batch = users
        parts = []
        offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
        queries, rows = scorer.queries(batch), len(batch["target"])
        for chunk in row_chunks(rows, size):
            scores = tf.convert_to_tensor(scorer.scores(take_rows(queries, chunk), offset, size))
            ids, _ = _best(without(scores, batch["excluded"][chunk], offset), offset)
            parts.append(
                Answers(
                    np.full(len(ids), domain),
                    batch["target"][chunk].numpy().astype(int),
                    ids,
                )
            )
        return parts

    wanted = first_users(batches, np.where(catalogue.sizes > 0, USERS, 0))
    parts = itertools.chain([nobody], *parallel_map(of_users, wanted))
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def domain_exposure(
    scorer: ModelScorer, batches: Iterable, catalogue: Catalogue, mixture: DomainMixture | None
) -> np.ndarray:
    """Part of the places that each domain has in lists of all domains, `[domains]`, sum 1."""
    scorer.refresh()
    sizes, offsets = catalogue.sizes.tolist(), catalogue.offsets.tolist()
    wanted = np.where(catalogue.sizes > 0, USERS_OF_EXPOSURE, 0)
    candidates_of = candidates_by(mixture)

    def of_users(users):
        """Places of each domain, `[domains]`."""
        batch, places = users[1], np.zeros(catalogue.num_domains)
        queries = scorer.queries_of_domains(batch, catalogue.num_domains)
        log_domains = log_domains_by(mixture, batch["items"])
        for chunk in row_chunks(len(batch["target"]), max(sizes)):
            found = []
            for d, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
                if size:
                    scores = scorer.scores(take_rows(queries[d], chunk), offset, size)
                    excluded = batch["excluded"][chunk]
                    scores, _ = candidates_of(scores, excluded, log_domains[chunk], d, offset)
                    ids, best = _best(scores, offset)
                    found.append((np.where(ids > 0, d, -1), best))
            domains, best = (np.concatenate(column, 1) for column in zip(*found, strict=True))
            order = np.argsort(-best, axis=1, kind="stable")[:, :K]
            chosen = np.take_along_axis(domains, order, axis=1)
            places += np.bincount(chosen[chosen >= 0], minlength=len(places))
        return places

    places = sum(
        parallel_map(of_users, first_users(batches, wanted)), np.zeros(catalogue.num_domains)
    )
    return places / max(places.sum(), 1.0)


def _best(scores, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and scores of the `K` best of a domain, `[rows, K]`; id 0 where there are no more."""
    found, place = tf.math.top_k(scores, k=min(K, scores.shape[1]))
    found, place = found.numpy(), place.numpy().astype(int)
    ids = np.where(found > -np.inf, place + offset, 0)
    missing = [(0, 0), (0, K - ids.shape[1])]
    return np.pad(ids, missing), np.pad(found, missing, constant_values=-np.inf)


def _row(answers: Answers, diversity, users, catalogue: Catalogue, domains) -> dict[str, Any]:
    """Every number of some users, whose lists are of some domains."""
    items, counts = answers.items[users], catalogue.counts
    candidates = 1 + np.flatnonzero(np.isin(catalogue.item_domains, domains))
    if not users.any() or not len(candidates):
        return {"users": int(users.sum())} | dict.fromkeys(LIST_METRICS, 0.0)
    information = np.append(0.0, self_information(counts, catalogue.item_domains))
    return {
        "users": int(users.sum()),
        "coverage": coverage(items, len(candidates)),
        "novelty": float(mean_of_lists(items, information).mean()),
        "diversity": float(diversity[users].mean()),
        "popularity_bias": popularity_bias(items, answers.targets[users], np.append(0, counts)),
        "gini": gini(np.bincount(items.ravel(), minlength=len(counts) + 1)[candidates]),
    }
