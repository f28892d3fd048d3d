"""Votes of like users, against a literal version that looks at one user after the other."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.support.like_users import literal_votes_of_users
from tests.support.networks import small_network
from tests.support.prepared import batches_of
from tf_syncrec.comparison import knn_tuning
from tf_syncrec.comparison.knn_tuning import tune_user_knn
from tf_syncrec.data.item_similarity import training_histories
from tf_syncrec.evaluation.full_ranking import rank_split
from tf_syncrec.layers import UserNeighbours
from tf_syncrec.layers.score_terms import user_neighbours
from tf_syncrec.layers.score_terms.user_neighbours import CLOSE
from tf_syncrec.models.baselines.user_knn import UserKNN

ITEMS, HISTORY = 30, 6


def random_users(rng, users=40, longest=14):
    """Some had an item twice; half of the times are equal to others."""
    return [
        (rng.integers(1, ITEMS + 1, n).tolist(), np.sort(rng.integers(0, 12, n)).tolist())
        for n in rng.integers(1, longest, users)
    ]


def layer_of(rows, count, weight=1.0, backward=0.0, history=HISTORY):
    lengths = [len(items) for items, _ in rows]
    layer = UserNeighbours(ITEMS, count, history, len(rows), sum(lengths))
    layer.build()
    items, times = (np.concatenate([row[part] for row in rows]) for part in (0, 1))
    layer.set_histories(np.cumsum([0, *lengths]), items, times)
    layer.weight.assign(weight)
    layer.backward.assign(backward)
    return layer


def said(layer, history):
    """Votes by item of one history, as the layer gives them; no item comes twice."""
    ids, votes = (x.numpy()[0] for x in layer(tf.constant([history], tf.int32)))
    assert len(set(ids[ids > 0])) == (ids > 0).sum()
    assert not votes[ids == 0].any()
    return dict(zip(ids[ids > 0].tolist(), votes[ids > 0].tolist(), strict=True))


@pytest.mark.parametrize(
    ("count", "holders", "latest", "slots"),
    [(100, 500, 50, 2**13), (5, 500, 50, 3), (100, 3, 50, 2**13), (4, 4, 5, 1)],
)
def test_votes_are_those_of_the_literal_version(count, holders, latest, slots, monkeypatch):
    """Of repeated items, of items that nobody had, and of more users and items than may vote.

    Also where items that are none of the history find its mark in their slot.
    """
    monkeypatch.setattr(user_neighbours, "SLOTS", slots)
    monkeypatch.setattr(user_neighbours, "HOLDERS", holders)
    monkeypatch.setattr(user_neighbours, "LATEST", latest)
    rng = np.random.default_rng(count)
    rows = random_users(rng)
    layer = layer_of(rows, count, weight=3.0, backward=0.4)
    voted = 0
    for length in rng.integers(1, 12, 20):
        history = [0, 0, *rng.integers(1, ITEMS + 1, length).tolist()]
        expected = literal_votes_of_users(
            rows, history[-HISTORY:], count, 3.0, 0.4, holders, latest
        )
        received = said(layer, history)
        for item in {*expected, *received}:
            assert received.get(item, 0) == pytest.approx(expected[item], rel=1e-4, abs=1e-6)
        voted += len(expected)
    assert voted > 100


def test_by_hand():
    """What came right after the item that both have counts most, and what was before it less."""
    layer = layer_of([([1, 2, 3, 4], [0, 1, 2, 3]), ([5, 6], [0, 1])], count=1, backward=0.5)
    votes = said(layer, [2])
    similarity = 1 / 2  # the cosine of one of four items, all as rare
    assert votes == pytest.approx(
        {
            1: similarity * 0.5 * CLOSE,
            2: similarity * 0.5,
            3: similarity,
            4: similarity * CLOSE,
        }
    )


def test_a_row_is_answered_as_if_it_were_alone():
    """Whatever else is in the batch, and however long its padding is."""
    rng = np.random.default_rng(3)
    layer = layer_of(random_users(rng), count=7, backward=0.3)
    rows = [rng.integers(1, ITEMS + 1, n).tolist() for n in (1, 9, 4, 0)]
    batch = tf.constant([[0] * (9 - len(row)) + row for row in rows], tf.int32)
    together = [x.numpy() for x in layer(batch)]
    for ids, votes, row in zip(*together, rows, strict=True):
        alone = said(layer, row or [0])
        assert {i: v for i, v in zip(ids.tolist(), votes.tolist(), strict=True) if i} == alone
    assert not together[0][3].any()


def test_votes_for_some_items_are_what_these_get_of_all():
    """To the bit, whichever they are."""
    rng = np.random.default_rng(4)
    layer = layer_of(random_users(rng), count=7)
    rows = tf.constant(rng.integers(0, ITEMS + 1, [5, 9]), tf.int32)

    def by_item(row, *which):
        """What comes before and after, for each item."""
        found = zip(
            *(part[row].numpy().tolist() for part in layer.votes(rows, *which)), strict=True
        )
        return {item: votes for item, *votes in found if item}

    voted = 0
    for offset, size in ((1, ITEMS), (4, 11), (ITEMS, 1), (9, 0)):
        for row in range(len(rows)):
            found, of_all = by_item(row, offset, size), by_item(row)
            wanted = range(offset, offset + size)
            assert found == {item: votes for item, votes in of_all.items() if item in wanted}
            voted += len(found)
    assert voted > 100


def test_without_users_nobody_votes():
    layer = UserNeighbours(ITEMS, 5, HISTORY)
    layer.build()
    layer.weight.assign(1.0)
    ids, votes = layer(tf.constant([[0, 3, 4], [0, 0, 0]], tf.int32))
    assert ids.shape == votes.shape == (2, 0)


def test_a_network_knows_training_rows_alone(make_prepared):
    prepared = make_prepared()
    layer = small_network(prepared, user_neighbours=3).user_neighbours
    expected = np.concatenate([row["items"] for row in prepared.splits["train"]])
    np.testing.assert_array_equal(layer.items, expected)
    assert layer.ends.numpy()[-1] == len(expected)


def test_user_knn_ranks_by_these_votes_and_is_tuned(make_prepared, monkeypatch):
    """Of the settings that are tried the best one on validation, as each ranks by itself."""
    monkeypatch.setattr(knn_tuning, "USER_GRID", {"neighbours": (3, 40), "backward": (0.0, 0.6)})
    prepared = make_prepared(users=120)
    batches, said = batches_of(prepared), list[str]()
    best, trials = tune_user_knn(prepared, batches, said.append)
    found = {}
    for count, backward in itertools.product((3, 40), (0.0, 0.6)):
        scorer = UserKNN(training_histories(prepared), prepared.catalogue, count, backward)
        ranks = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
        found[count, backward] = ranks.metrics(prepared.catalogue.domains)["overall"]
    assert [trial["validation"] for trial in trials] == list(found.values())
    chosen = max(found, key=lambda settings: found[settings]["ndcg@10"])
    again = rank_split(best, batches, prepared.catalogue, with_rows=False)
    assert again.metrics(prepared.catalogue.domains)["overall"] == found[chosen]
    assert len({row["ndcg@10"] for row in found.values()}) > 2 and len(said) == 4
    for batch in batches.take(3):
        ids, votes = best.queries(batch)
        domain = int(batch["domain"][0])
        offset, size = (
            int(part[domain]) for part in (prepared.catalogue.offsets, prepared.catalogue.sizes)
        )
        scores = best.scores((ids, votes), offset, size)
        for row, of_row in enumerate(scores.numpy()):
            expected = dict(
                zip(ids[row].numpy().tolist(), votes[row].numpy().tolist(), strict=True)
            )
            for place, score in enumerate(of_row.tolist()):
                assert score == pytest.approx(expected.get(offset + place, 0.0), rel=1e-6)
