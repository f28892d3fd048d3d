"""Asks two exports the same questions: ranks of the targets, what was recommended, and how fast."""

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from data_prep import Catalogue
from tf_syncrec.gate.later_rows import Questions
from tf_syncrec.metrics.gains import MISS
from tf_syncrec.recommending.everybody import asked_together
from tf_syncrec.recommending.served_model import Answers, ServedModel

WARM_UP = 3
"""Requests of each before the time counts."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """What one run answered.

    Attributes:
        ranks: `[targets]` place of the target among the k answers of its domain, from 1; `MISS`
            where it is none of them.
        unknown: `[domains]` part of the later rows whose item the run does not know.
        recommended: `[domains]` how many different items were recommended to the users.
        items: `[domains]` how many the run knows.
        fallback: part of the users whom popularity answered.
    """

    ranks: np.ndarray
    unknown: np.ndarray
    recommended: np.ndarray
    items: np.ndarray
    fallback: float

    @property
    def coverage(self) -> np.ndarray:
        """`[domains]` part of the known items that was recommended; 0 in an unknown domain."""
        return self.recommended / np.maximum(self.items, 1)


def score(served: ServedModel, catalogue: Catalogue, questions: Questions, k: int) -> Scored:
    """Asks for the best k in every domain, for every user.

    Args:
        served: the export.
        catalogue: of its run.
        questions: what is asked.
        k: how many answers.
    """
    names = questions.domains
    index = {name.encode(): place for place, name in enumerate(names)}
    wanted = np.full((len(questions.users), len(names)), b"", object)
    encoded = np.array([item.encode() for item in questions.targets], object)
    wanted[questions.askers, questions.target_domains] = encoded
    places = np.full(wanted.shape, MISS)
    recommended: list[set[bytes]] = [set() for _ in names]
    fallback = 0
    known = served.domains
    lengths = np.array([len(history) for history in questions.histories])
    for some in asked_together(lengths):
        answers = ask(served, questions, some, k, known)
        domains = np.array([index.get(name, -1) for name in answers.domains], int)
        users = some[answers.users]
        hit = (domains >= 0) & (answers.items == wanted[users, domains])
        places[users[hit], domains[hit]] = answers.ranks[hit]
        for domain, found in enumerate(recommended):
            found.update(answers.items[domains == domain].tolist())
        fallback += len(np.unique(users[answers.fallback]))
    ids = np.array([*catalogue.item_ids, ""], object)
    unknown = ~np.isin(questions.later_items.astype(str), ids.astype(str))
    rows = np.bincount(questions.later_domains, questions.later_rows, len(names))
    lost = np.bincount(questions.later_domains, questions.later_rows * unknown, len(names))
    sizes = dict(zip(catalogue.domains, catalogue.sizes.tolist(), strict=True))
    return Scored(
        ranks=places[questions.askers, questions.target_domains],
        unknown=lost / np.maximum(rows, 1),
        recommended=np.array([len(found) for found in recommended]),
        items=np.array([sizes.get(name, 0) for name in names]),
        fallback=fallback / len(questions.users),
    )


def ask(
    served: ServedModel,
    questions: Questions,
    some: np.ndarray,
    k: int,
    domains: Sequence[str],
) -> Answers:
    """What is recommended to some of the users at the moment of the questions."""
    return served.in_each_domain(
        [questions.users[user] for user in some],
        [questions.histories[user] for user in some],
        k,
        domains,
        times=([questions.times[user] for user in some], [questions.since] * len(some)),
    )


def seconds_per_request(
    models: Sequence[ServedModel], questions: Questions, k: int, requests: int
) -> list[np.ndarray]:
    """Has the models answer one user at a time, in turns, so that both meet the same machine.

    Args:
        models: the exports.
        questions: whose users are asked for, each in all domains.
        k: how many answers.
        requests: how many of each.

    Returns:
        `[requests]` seconds of each model, the same users in the same order.
    """
    known = [served.domains for served in models]
    seconds: list[list[float]] = [[] for _ in models]
    for turn in range(-WARM_UP, requests):
        user = np.array([turn % len(questions.users)])
        order = range(len(models)) if turn % 2 else reversed(range(len(models)))
        for number in order:
            begun = time.perf_counter()
            ask(models[number], questions, user, k, known[number])
            if turn >= 0:
                seconds[number].append(time.perf_counter() - begun)
    return [np.array(of_model) for of_model in seconds]
