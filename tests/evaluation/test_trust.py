"""Can the numbers be trusted? Leaks, chance level, and checks shown to find what they seek.

Everything runs on the real pipeline: a log is written, prepared, batched, trained on and ranked.
"""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import prepare
from tests.support.batches import sequences_of, windows_of
from tests.support.candidates import excluded
from tf_syncrec.comparison import worker as cell
from tf_syncrec.comparison.cells import Cell
from tf_syncrec.comparison.names import parse_name
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.data.some_domains import SomeDomains
from tf_syncrec.evaluation.full_ranking import Scorer, VectorScorer, rank_split
from tf_syncrec.metrics.gains import user_gains
from tf_syncrec.training import loop

WINDOW = 6
EPOCHS = 3


def prepared_log(directory, sequences):
    """Prepares a log of sequences `{user: [item]}`; an item's domain is its first letter."""
    lines = ["user_id,item_id,domain,timestamp"]
    for user, items in sequences.items():
        lines += [f"{user},{item},{item[0]},{step}" for step, item in enumerate(items)]
    path = directory / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return prepare("interactions", path=path, data_dir=directory / "data", report=None)


def run_cell(directory, prepared, model, domain=None, **settings):
    """Trains and evaluates a tiny model as the comparison does; returns its rows, user by user."""
    config = Config.model_validate(
        {
            "data": {
                "dataset": "interactions",
                "path": str(directory / "log.csv"),
                "data_dir": str(directory / "data"),
            },
            "model": {"window": WINDOW, "dim": 16, "blocks": 1, "experts": 2, "cross_experts": 1},
            "loss": {"negatives": 16},
            "train": {"epochs": EPOCHS, "batch_size": 16, "patience": EPOCHS} | settings,
        }
    )
    config.model.dropout = 0.0
    one = Cell(parse_name(model), 0, domain)
    place = one.directory(directory)
    place.mkdir(parents=True)
    (place / "cell.json").write_text(json.dumps(one.request(config, prepared.name)))
    cell.run_cell(place)
    return {row["user_id"]: row for row in pq.read_table(place / "ranks.parquet").to_pylist()}


class Planted:
    """A prepared dataset with a leak: what `change` makes of each row of some splits."""

    def __init__(self, prepared, splits, change):
        self.catalogue = prepared.catalogue
        self._prepared, self._splits, self._change = prepared, splits, change

    def as_dataset(self, split):
        dataset = self._prepared.as_dataset(split)
        return dataset.map(self._change) if split in self._splits else dataset


# ---------------------------------------------------------------------- targets and the training


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A log in which nobody shares an item of the training, so that each is known by its item.

    Targets are known items, as others have them in their training: of the last but one item the
    next user, of the last item the one after. So whatever of them is in a training row is a leak.
    """
    rng = np.random.default_rng(0)
    users = 60
    own = [
        [f"{rng.choice(['a', 'b'])}-{user}-{step}" for step in range(rng.integers(2, 14))]
        for user in range(users)
    ]
    sequences = {
        f"u{user}": [
            *own[user],
            *(str(rng.choice(own[(user + further) % users])) for further in (1, 2)),
        ]
        for user in range(users)
    }
    directory = tmp_path_factory.mktemp("private")
    return SimpleNamespace(
        directory=directory, prepared=prepared_log(directory, sequences), sequences=sequences
    )


def names_of(prepared, sequences):
    """Sequences of item numbers as tuples of raw item ids."""
    ids = np.concatenate([[""], prepared.catalogue.item_ids])
    return [tuple(ids[list(sequence)]) for sequence in sequences]


def of_domain(prepared, domain):
    """A domain of the data by its name; all of it for None."""
    if domain is None:
        return prepared
    return SomeDomains(prepared, [prepared.catalogue.domains.index(domain)])


def trained_on(prepared, batches):
    """What an epoch trains on, in raw item ids."""
    sequences = [s for batch in batches for s in sequences_of(batch, WINDOW)]
    return Counter(names_of(prepared, sequences))


def expected_rows(private, domain, overlap=True):
    """What may be trained on: a literal leave-one-out of the log."""
    kept = (
        [item for item in items[:-2] if domain in (None, item[0])]
        for items in private.sequences.values()
    )
    return Counter(window for items in kept for window in windows_of(items, WINDOW, overlap))


@pytest.mark.parametrize("domain", [None, "a", "b"])
def test_no_target_is_in_a_training_batch_of_any_epoch(private, domain):
    prepared = private.prepared
    assert not (prepared.catalogue.counts != 1).any()
    for row in prepared.as_dataset("test").as_numpy_iterator():
        assert row["target"] > 0, "targets must be known, else they cannot leak"
    some = of_domain(prepared, domain)
    batches = train_batches(some, WINDOW, 16, 0)
    for epoch in range(EPOCHS):
        assert trained_on(some, batches.epoch(epoch)) == expected_rows(private, domain)

    # The same look finds a target where there is one.
    targets = {
        split: {
            row["user_id"]: row["target"] for row in prepared.as_dataset(split).as_numpy_iterator()
        }
        for split in ("validation", "test")
    }
    for of in targets.values():
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(list(of), list(of.values())), 0
        )

        def append(row, table=table):
            items = tf.concat([row["items"], [table.lookup(row["user_id"])]], 0)
            return row | {
                "items": items,
                "timestamps": tf.cast(tf.range(tf.size(items)), "float64"),
            }

        leaky: Any = Planted(prepared, {"train"}, append)
        leaky = of_domain(leaky, domain)
        rows = trained_on(leaky, train_batches(leaky, WINDOW, 16, 0))
        assert sum((rows - expected_rows(private, domain)).values()) > 20


@pytest.mark.parametrize(
    ("model", "domain"),
    [pytest.param("bprmf", None, marks=pytest.mark.slow), ("bprmf_single", "a")],
)
def test_no_target_reaches_a_model_in_training(private, tmp_path, monkeypatch, model, domain):
    """Listens at the door of the training that a comparison runs, through all its epochs."""
    met = []

    def listen(*args, **kwargs):
        def note(items):
            met.append({"items": items})
            return items

        def pass_on(batch):
            items = tf.numpy_function(note, [batch["items"]], tf.int32)
            return batch | {"items": tf.ensure_shape(items, [None, None])}

        batches = train_batches(*args, **kwargs)
        laid_out = batches.lay_out
        return replace(batches, lay_out=lambda rows: pass_on(laid_out(rows)))

    monkeypatch.setattr(loop, "train_batches", listen)
    (tmp_path / "data").symlink_to(private.directory / "data")
    (tmp_path / "log.csv").symlink_to(private.directory / "log.csv")
    run_cell(tmp_path, private.prepared, model, domain)
    rows = trained_on(of_domain(private.prepared, domain), met)
    expected = expected_rows(private, domain, overlap=False)
    assert set(rows) == set(expected)
    # Keras may look at a batch before it trains on it.
    assert all(rows[row] >= EPOCHS * times for row, times in expected.items())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_histories_end_before_the_target(private, split):
    before = {"validation": -2, "test": -1}[split]
    batches = list(evaluation_batches(private.prepared, split, 16))
    users = [user.decode() for batch in batches for user in batch["user_id"].numpy()]
    targets = [item.decode() for batch in batches for item in batch["target_item_id"].numpy()]
    histories = names_of(
        private.prepared, (row[row > 0] for batch in batches for row in batch["items"].numpy())
    )
    assert sorted(users) == sorted(private.sequences)
    for user, target, history in zip(users, targets, histories, strict=True):
        assert target == private.sequences[user][before]
        assert history == tuple(private.sequences[user][:before])


# ------------------------------------------------------------------------- targets in the input


class Echo(Scorer):
    """Scores what it was given: the last item of the history highest, what is not in it lowest."""

    def queries(self, batch):
        return batch["items"]

    def scores(self, queries, offset, size):
        queries = np.asarray(queries)
        scores = np.zeros((len(queries), offset + size), np.float32)
        places = np.broadcast_to(np.arange(1.0, queries.shape[1] + 1), queries.shape)
        rows = np.arange(len(queries))[:, None]
        np.maximum.at(scores, (rows, np.where(queries < offset + size, queries, 0)), places)
        return scores[:, offset:]


def ranks_of_echo(prepared, split, domain=None):
    some = of_domain(prepared, domain)
    batches = evaluation_batches(some, split, 16)
    ranks = rank_split(Echo(), batches, some.catalogue, with_rows=False)
    return dict(zip(ranks.user_ids, ranks.ranks, strict=True))


def leak(place):
    """Puts the target into the history: `last`, `first`, or where it is hardest to see."""

    def change(row):
        items, times = row["items"], row["timestamps"]
        at = {"first": 0, "last": tf.size(items), "inside": tf.size(items) // 2}[place]
        return row | {
            "items": tf.concat([items[:at], [row["target"]], items[at:]], axis=0),
            "timestamps": tf.concat([times[:at], [row["target_timestamp"]], times[at:]], axis=0),
        }

    return change


@pytest.mark.parametrize("domain", [None, pytest.param("a", marks=pytest.mark.slow)])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_target_leaked_into_the_input_is_found(private, split, domain):
    """In a log where nobody has an item twice, an echo of the history finds nothing but leaks.

    Or a miss, where what was in the history is no candidate.
    """
    catalogue = private.prepared.catalogue
    for repeats in (True, False):
        rule = replace(catalogue, repeats=np.full(catalogue.num_domains, repeats))
        prepared = replace(private.prepared, catalogue=rule)
        real = ranks_of_echo(prepared, split, domain)
        candidates = candidates_of(prepared, split)
        assert len(real) > 15
        assert real == {user: candidates[user] for user in real}, "worst rank, as all of them tie"
        for place in ("last", "inside", "first"):
            found = ranks_of_echo(Planted(prepared, {split}, leak(place)), split, domain)
            assert found.keys() == real.keys()
            if not repeats:
                assert set(found.values()) == {np.inf}
            elif place == "last":
                assert set(found.values()) == {1}
            assert not repeats or all(found[user] < real[user] for user in real)


# --------------------------------------------------------------------------------- chance level


def candidates_of(prepared, split):
    """How many items compete, by a literal count: `{user: candidates}`; 0 with a cold target."""
    catalogue = prepared.catalogue
    found = {}
    for row in prepared.as_dataset(split).as_numpy_iterator():
        first = catalogue.offsets[row["domain"]]
        items = set(range(first, first + catalogue.sizes[row["domain"]]))
        left = items - excluded(row, catalogue)
        found[row["user_id"]] = len(left) if int(row["target"]) in left else 0
    return found


def surprise(ranks, candidates, metric):
    """How many standard errors above chance: the rank of each user is uniform over candidates."""
    gains = {c: user_gains(np.arange(1, c + 1), metric) for c in set(candidates.values()) if c}
    users = [user for user, number in candidates.items() if number]
    expected = sum(gains[candidates[user]].mean() for user in users)
    variance = sum(gains[candidates[user]].var() for user in users)
    received = user_gains(np.array([ranks[user] for user in users]), metric).sum()
    return (received - expected) / variance**0.5


class DomainScorer(VectorScorer):
    """Knows the domain that is asked for, and of its items nothing: they differ by chance."""

    def __init__(self, catalogue):
        self._rng = np.random.default_rng(0)
        self._domains = catalogue.num_domains
        domains = np.eye(catalogue.num_domains)[catalogue.item_domains]
        noise = self._rng.normal(size=(catalogue.num_items, 8))
        rows = np.vstack([np.zeros(catalogue.num_domains + 8), np.hstack([100 * domains, noise])])
        super().__init__(tf.constant(rows, tf.float32))

    def queries(self, batch):
        domains = np.eye(self._domains)[batch["domain"].numpy()]
        noise = self._rng.normal(size=(len(domains), 8))
        return tf.constant(np.hstack([domains, noise]), tf.float32)


METRICS = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_scorer_that_knows_only_the_domain_is_at_chance_level(tmp_path, split):
    sizes = {"users": 800, "items_per_domain": 40, "interactions_per_user": 8}
    prepared = prepare("synthetic", synthetic=sizes, data_dir=tmp_path, report=None)
    batches = evaluation_batches(prepared, split, 64)
    ranks = rank_split(DomainScorer(prepared.catalogue), batches, prepared.catalogue)
    of_user = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
    candidates = candidates_of(prepared, split)
    assert max(candidates.values()) <= 40, "items of other domains must not compete"
    for metric in METRICS:
        assert abs(surprise(of_user, candidates, metric)) < 4


LOGS = {
    # Nobody has an item twice, so each item not in the history is as likely the next one.
    "random": lambda rng: rng.permutation(80)[: rng.integers(6, 11)],
    "ring": lambda rng: (rng.integers(80) + np.arange(rng.integers(6, 11))) % 80,
}


@pytest.mark.parametrize("model", ["sasrec", pytest.param("syncrec", marks=pytest.mark.slow)])
@pytest.mark.parametrize("log", ["random", pytest.param("ring", marks=pytest.mark.slow)])
def test_a_trained_model_is_at_chance_level_where_there_is_nothing_to_learn(log, model, tmp_path):
    """Four standard errors of chance on a log without structure, far beyond on one that has it."""
    rng = np.random.default_rng(1)
    sequences = {
        f"u{user}": [f"{'ab'[i % 2]}{i}" for i in LOGS[log](rng).tolist()] for user in range(500)
    }
    prepared = prepared_log(tmp_path, sequences)
    settings = {"learning_rate": 0.02, "batch_size": 64}
    rows = run_cell(tmp_path, prepared, model, **settings)
    ranks = {user.encode(): row["rank"] for user, row in rows.items()}
    candidates = candidates_of(prepared, "test")
    assert min(candidates.values()) > 25, "all targets are known, with many competitors"
    found = {metric: surprise(ranks, candidates, metric) for metric in METRICS}
    if log == "random":
        assert all(abs(errors) < 4 for errors in found.values()), found
    else:
        assert all(errors > 20 for errors in found.values()), found
