"""Full ranking: where the target stands among all items of its domain."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from data_prep import Catalogue, PreparedDataset
from tf_syncrec.data.batches import LIKE_USERS, asked, without_asked
from tf_syncrec.evaluation import AT_REQUEST_TIME, TIMED, WITH_TIMES
from tf_syncrec.layers.score_terms.item_neighbours import add_votes, together
from tf_syncrec.layers.score_terms.popularity_trend import BEHIND
from tf_syncrec.layers.score_terms.user_neighbours import UserVotes
from tf_syncrec.metrics.gains import MISS, domain_metrics
from tf_syncrec.metrics.target_ranks import held_at_once, row_chunks, target_ranks
from tf_syncrec.utils.parallel import parallel_map
from tf_syncrec.utils.terminal import advance
from tf_syncrec.utils.variables import in_place

Batches = Iterable[Mapping[str, Any]]
"""`data.batches.evaluation_batches`, or some of their users; read as often as one likes."""

REPEATS = (
    "; the items of the user's history are among them where `repeats` of the item's domain says "
    "`include`, and where it says `exclude` a target of the history is a miss"
)
"""Who else is no candidate, under every protocol."""

PROTOCOL = {
    "candidates": f"all items of the target's domain that occur in training{REPEATS}",
    "cold_targets": "a target that never occurs in training is a miss: its rank is infinite, and "
    "HR, NDCG and MRR are 0",
    "ties": "rank against the target",
    "selection": "validation ndcg@10; test is scored once",
}
"""How targets are ranked, whichever they are."""

WITH_ITEMS = {
    "candidates": "all items of the target's domain that occur in training or that the items file "
    f"has{REPEATS}",
    "cold_targets": "a target that never occurs in training is ranked where the items file has it; "
    "else it is a miss: its rank is infinite, and HR, NDCG and MRR are 0",
}
"""What is otherwise where there is an items file."""


ABOUT_TIMES = {
    WITH_TIMES: "the request tells when the interactions of the history were",
    AT_REQUEST_TIME: "the request tells when the interactions of the history were, and when it is "
    "itself: the time of the target, which looks ahead as far as one knows that something follows",
}
"""What timed protocols are about."""


def protocol(prepared: PreparedDataset) -> dict[str, Any]:
    """What a reader of the numbers has to know: the split, the ranking, the data."""
    facts = {"repeats": prepared.catalogue.rules, "dataset": prepared.name}
    ranked = PROTOCOL | (WITH_ITEMS if prepared.catalogue.cold.any() else {})
    return {"split": prepared.split_protocol} | ranked | facts


class Scorer(Protocol):
    """Whatever can be ranked."""

    def refresh(self) -> None:
        """Called before a split is ranked: takes over what has been learned since."""
        return None

    def queries(self, batch):
        """What `scores` needs to know of a batch of `data.batches.evaluation_batches`.

        Returns:
            An array, or a tuple of arrays, with a row a user.
        """

    def scores(self, queries, offset: int, size: int):
        """Scores of the items of one domain, ids `offset` to `offset + size - 1`.

        Args:
            queries: some rows of what `queries` returned.
            offset: first item id of the domain.
            size: trained items of the domain.

        Returns:
            `[rows, size]` float32.
        """


class VectorScorer(Scorer):
    """Scores are dot products of query vectors `[batch, dim]` and candidate vectors.

    Args:
        candidates: `[items + 1, dim]`; row 0 is padding.
    """

    def __init__(self, candidates=None):
        self._candidates = candidates

    def queries_of_domains(self, batch, num_domains: int):
        """What `queries` would return if all rows asked for a domain, of every domain in turn."""
        rows = tf.shape(batch["items"])[0]
        return [self.queries(batch | {"domain": tf.fill([rows], d)}) for d in range(num_domains)]

    def scores(self, queries, offset, size):
        """Dot products."""
        return _products(queries, self._candidates, offset, size)


def times_of(batch, told: str | None) -> tuple:
    """What a score is told of times, as `layers.RepeatConsumption` takes it.

    Args:
        batch: of `data.batches.evaluation_batches`.
        told: None, the order alone, or one of `evaluation.TIMED`.
    """
    if told is None:
        return ()
    times = batch["timestamps"], batch["target_timestamp"]
    return times[: 1 + TIMED.index(told)]


@tf.function(
    autograph=False,
    input_signature=[
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([], tf.int32),
    ],
)
def _products(queries, candidates, offset, size):
    return tf.matmul(queries, candidates[offset : offset + size], transpose_b=True)


class ModelScorer(Scorer):
    """Ranks with a trained model.

    Candidate vectors are made domain by domain where they are needed: those of all items would be
    as large as the model.

    Args:
        model: a `MultiDomainModel`.
        votes: whether `model.terms` have a say; False ranks by the network alone.
        told: what they, and a network with `time_inputs`, are told of times, see `times_of`.
    """

    def __init__(self, model, votes: bool = True, told: str | None = None):
        self._model = model
        self._votes = votes
        self._told = told
        self._voters: tuple = ()
        self._trend: tf.Tensor | None = None

    def refresh(self):
        """Reads the lengths of the item vectors, and who has a say."""
        self._candidates: tuple[tuple[int, int], tf.Tensor] | None = None  # of the last domain
        if self._model.dot_product:
            # Of items that are more than their row, all that they are, once.
            as_rows = self._model.tables_in_place
            self._whole = None if as_rows else self._model.item_tables()
            self._scales = [self._model.candidate_scales(table) for table in self._tables()]
        self._voters = tuple(v for v in self._model.voters if self._votes and bool(v.voting()))
        trend = self._model.trend
        self._trend = None if trend is None else in_place(trend.gain)
        if not self._votes and self._trend is not None:
            # What nobody can say anything of stays behind, whoever has a say.
            self._trend = tf.where(self._trend <= BEHIND / 2, self._trend, 0.0)

    def _tables(self):
        """Vectors of all items, of each of the network's embeddings."""
        return self._model.item_tables() if self._whole is None else self._whole

    def queries(self, batch):
        """Query vectors of the target domains, `[batch, dim]`; with votes, also ids and votes."""
        said, weights = self.said(batch), self._model.view_weights
        if weights is None:
            vectors = said[:, 0]
        else:  # as `query_vectors` weighs them
            of_first, of_second = weights(batch["domain"])
            vectors = of_first[:, None] * said[:, 0] + of_second[:, None] * said[:, 1]
        return (vectors, *self.votes(batch)) if self._voters else vectors

    def said(self, batch):
        """What the network says of the histories of a batch, whatever has been fitted since.

        Returns:
            `[batch, 1, dim]`, or `[batch, 2, dim]` of a network with two scores that are weighed.
        """
        kept = asked(self._told if self._model.time_inputs else None)
        if kept in batch:
            return batch[kept]
        if self._model.view_weights is None:
            return self._model.asked.queries(self._asked_by(batch))[:, None]
        return tf.stack(self._model.asked.view_queries(self._asked_by(batch)), axis=1)

    def queries_of_domains(self, batch, num_domains):
        """As in `VectorScorer`; the network is asked once."""
        of_domains = self._model.asked.domain_queries(self._asked_by(batch))
        vectors = tf.unstack(of_domains, num_domains, axis=1)
        votes = self.votes(without_asked(batch))
        return [(of_domain, *votes) if self._voters else of_domain for of_domain in vectors]

    def view_queries(self, batch):
        """Query vectors of each of a network's two scores, two times `[batch, dim]`."""
        if self._model.view_weights is None:
            return self._model.asked.view_queries(self._asked_by(batch))
        return tuple(tf.unstack(self.said(batch), axis=1))

    def _asked_by(self, batch):
        return self._model.asked_by(batch, *times_of(batch, self._told))

    def votes(self, batch):
        """Ids and votes by histories; nothing where nobody has a say.

        Where what like users say is kept, it is of the items of the batch's domain.
        """
        times, like_users = times_of(batch, self._told), self._model.user_neighbours
        return together(
            [
                like_users.weighed(self.like_users(batch))
                if voter is like_users
                else voter(batch["items"], *times)
                for voter in self._voters
            ]
        )

    def like_users(self, batch) -> UserVotes:
        """What like users say, not weighed yet."""
        if LIKE_USERS[0] in batch:
            return UserVotes(*(batch[name] for name in LIKE_USERS))
        return self._model.user_neighbours.votes(batch["items"])

    def scores(self, queries, offset, size):
        """What the network says, and all else on top."""
        vectors, *votes = queries if self._voters else (queries,)
        return self.with_terms(self.products(vectors, offset, size), votes, offset)

    def with_terms(self, scores, votes, offset):
        """Scores of one domain, and on top the trend and what `votes` returned."""
        if self._trend is not None:
            scores += self._trend[offset : offset + tf.shape(scores)[1]]
        if not self._voters:
            return scores
        ids, of_history = votes
        return _with_votes(scores, ids, of_history, offset)

    def products(self, vectors, offset, size):
        """What the network says of the items of one domain, to query vectors `[rows, dim]`."""
        if not self._model.dot_product:

            def of_ids():
                return self._model.candidate_vectors(tf.range(offset, offset + size))

            candidates = self._of_domain(offset, size, of_ids)
            return self._model.asked.candidate_scores(vectors, candidates)
        scaled = list(zip(self._tables(), self._scales, strict=True))
        # Of two ways to the same scores, but for rounding, one takes no more memory than they do.
        if held_at_once(size * vectors.shape[1]):

            def rows():
                return tf.concat([_scaled_rows(*table, offset, size) for table in scaled], axis=1)

            return tf.matmul(vectors, self._of_domain(offset, size, rows), transpose_b=True)
        parts = zip(tf.split(vectors, len(scaled), axis=1), scaled, strict=True)
        return tf.add_n([_scaled_products(part, *table, offset, size) for part, table in parts])

    def _of_domain(self, offset, size, made: Callable[[], tf.Tensor]) -> tf.Tensor:
        """Candidates of a domain, which most often is the one that was asked for last."""
        latest = self._candidates  # read once: another thread may ask for another domain
        if latest is None or latest[0] != (offset, size):
            self._candidates = latest = (offset, size), made()
        return latest[1]


# One operation at a time costs more than what is computed.
_with_votes = tf.function(
    add_votes,
    autograph=False,
    input_signature=(
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.float32),
        tf.TensorSpec([], tf.int32),
    ),
)


OF_A_DOMAIN = (
    tf.TensorSpec([None, None], tf.float32),
    tf.TensorSpec([None], tf.float32),
    tf.TensorSpec([], tf.int32),
    tf.TensorSpec([], tf.int32),
)
"""Signature of a table of items, a scale for each, and the rows of a domain: first, number."""


@tf.function(input_signature=OF_A_DOMAIN, autograph=False)
def _scaled_rows(items, scales, offset, size):
    return items[offset : offset + size] * scales[offset : offset + size, None]


@tf.function(
    input_signature=(tf.TensorSpec([None, None], tf.float32), *OF_A_DOMAIN), autograph=False
)
def _scaled_products(queries, items, scales, offset, size):
    products = tf.matmul(queries, items[offset : offset + size], transpose_b=True)
    return products * scales[offset : offset + size]


class PopularityScorer(VectorScorer):
    """Ranks by the number of training interactions: the least a recommender has to beat.

    Args:
        counts: `[items]`, of the items in the order of their ids; or their logarithms, or the like.
    """

    def __init__(self, counts: np.ndarray):
        of_ids = np.append(0, counts).astype(np.float32)
        super().__init__(tf.constant(of_ids[:, None]))

    def queries(self, batch):
        """The same for everybody, `[batch, 1]`."""
        return tf.ones([tf.shape(batch["items"])[0], 1])


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Ranks of a split, one entry a user.

    Attributes:
        user_ids: `[users]` bytes.
        domains: `[users]` int32, domain of the target.
        target_ids: `[users]` bytes, raw id of the target; it and the histories may be left out.
        cold: `[users]` bool, the target never occurs in training. It may be a candidate all the
            same, where an items file knows it.
        ranks: `[users]` float64, 1 = best, `gains.MISS` for a miss.
        history_items: all histories end to end, int32 ids, oldest first.
        history_lengths: `[users]` int64.
        history_times: when they were, float64 in the log's unit, end to end as well.
        target_times: `[users]` float64.
        beside: ranks by other scorers, by name, each `[users]` float64.
    """

    user_ids: np.ndarray
    domains: np.ndarray
    target_ids: np.ndarray
    cold: np.ndarray
    ranks: np.ndarray
    history_items: np.ndarray
    history_lengths: np.ndarray
    history_times: np.ndarray
    target_times: np.ndarray
    beside: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def unknown(self) -> np.ndarray:
        """`[users]` bool: a cold target that nothing knows of, and so a miss."""
        return self.cold & (self.ranks == MISS)

    def by(self, name: str) -> "Ranks":
        """The ranks by one of the scorers `beside`."""
        return dataclasses.replace(self, ranks=self.beside[name])

    def metrics(self, names):
        """`{"overall": R, "domains": {domain: R}}`."""
        return domain_metrics(self.ranks, self.domains, names)


def rank_split(
    scorer: Scorer,
    batches: Batches,
    catalogue: Catalogue,
    with_rows: bool = True,
    beside: Mapping[str, Scorer] | None = None,
) -> Ranks:
    """Ranks every target of a split against all candidates of its domain.

    Args:
        scorer: what scores.
        batches: from `data.batches.evaluation_batches`.
        catalogue: items and domains.
        with_rows: as in `collect_ranks`.
        beside: others to rank by, by name, so that the split is read once.

    Raises:
        tf.errors.InvalidArgumentError: a score is not a finite number.
    """
    beside = beside or {}
    rankings = [_ranking(each, catalogue) for each in (scorer, *beside.values())]
    trained = np.append(False, catalogue.counts > 0)
    return collect_ranks(
        lambda batch: [rank(batch) for rank in rankings], batches, with_rows, trained, tuple(beside)
    )


def _ranking(scorer: Scorer, catalogue: Catalogue) -> Callable[[Any], np.ndarray]:
    """Ranks of the targets of a batch of one domain, `[rows]`, by what the scorer knows now."""
    scorer.refresh()
    offsets, sizes = catalogue.offsets.tolist(), catalogue.sizes.tolist()  # counted anew each time

    def rank(batch):
        domain = int(batch["domain"][0])
        offset, size = offsets[domain], sizes[domain]
        rows = len(batch["target"])
        if not size:  # no item of the domain was ever trained: all are misses
            return np.full(rows, MISS)
        queries = scorer.queries(batch)
        return np.concatenate(
            [
                target_ranks(
                    scorer.scores(take_rows(queries, chunk), offset, size),
                    batch["excluded"][chunk],
                    batch["target"][chunk],
                    offset,
                )
                for chunk in row_chunks(rows, size)
            ]
        )

    return rank


def take_rows(queries, rows: slice):
    """Some rows of what a scorer's `queries` returned; most often they are all."""
    return tf.nest.map_structure(
        lambda part: part if rows.start == 0 and rows.stop >= len(part) else part[rows], queries
    )


def collect_ranks(
    rank: Callable[[Any], Sequence[np.ndarray]],
    batches: Batches,
    with_rows: bool = True,
    trained: np.ndarray | None = None,
    beside: Sequence[str] = (),
) -> Ranks:
    """Ranks batch by batch, several at a time, and puts the results together.

    Args:
        rank: ranks of the targets of a batch, `[rows]`, and those of all that are `beside`.
        batches: from `data.batches.evaluation_batches`.
        with_rows: False leaves out what only `test_ranks.parquet` needs: raw item ids, histories,
            times.
        trained: `[items + 1]` bool by id, whether training has it; None: all that have an id.
        beside: names of other ways to rank.
    """
    kinds = (object, np.int32, object, bool, np.float64, np.int32, np.int64, float, float)
    nobody = tuple(np.empty(0, kind) for kind in (*kinds, *([float] * len(beside))))
    columns: list[tuple] = [nobody]  # a split, or a domain of it, may have no targets

    def columns_of(batch) -> tuple:
        items, times = (batch[name].numpy() for name in ("items", "timestamps"))
        items = items[: None if with_rows else 0]
        known = items > 0
        target = batch["target"].numpy()
        ranks, *others = rank(batch)
        return (
            batch["user_id"].numpy(),
            batch["domain"].numpy(),
            batch["target_item_id"].numpy()[: len(items)],
            target == 0 if trained is None else ~trained[target],
            ranks,
            items[known],
            known.sum(axis=1),
            times[: len(items)][known],
            batch["target_timestamp"].numpy()[: len(items)],
            *others,
        )

    for of_batch in parallel_map(columns_of, batches):
        columns.append(of_batch)
        advance(len(of_batch[0]))
    whole: Any = [np.concatenate(column) for column in zip(*columns, strict=True)]
    of_ours, of_others = whole[: len(kinds)], whole[len(kinds) :]
    return dataclasses.replace(Ranks(*of_ours), beside=dict(zip(beside, of_others, strict=True)))
