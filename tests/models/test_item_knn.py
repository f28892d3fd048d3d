"""Item-kNN is what its formula says, written out in loops, and stays sparse."""

import math
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.spatial.distance import cdist

from data_prep import Catalogue
from tf_syncrec.comparison import knn_tuning
from tf_syncrec.comparison.knn_tuning import tune_item_knn
from tf_syncrec.data import cosine
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.data.item_similarity import similarities, user_items
from tf_syncrec.evaluation.full_ranking import rank_split
from tf_syncrec.models.baselines import item_knn
from tf_syncrec.models.baselines.item_knn import ItemKNN, fit_item_knn


def literal_similarities(prepared, shrinkage=0.0, neighbours=None):
    """`{(item, other): similarity}` from sets of users."""
    catalogue = prepared.catalogue
    users: dict[int, set] = {item: set() for item in range(1, catalogue.num_items + 1)}
    for row in prepared.splits["train"]:
        for item in row["items"].tolist():
            users[item].add(row["user_id"])
    found = {}
    for item in users:
        for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True):
            near = []
            for other in range(offset, offset + size):
                shared = len(users[item] & users[other])
                if shared and item != other:
                    scale = math.sqrt(len(users[item]) * len(users[other]))
                    near.append((-shared / (scale + shrinkage), other))
            found.update({(item, other): -value for value, other in sorted(near)[:neighbours]})
    return found


def literal_scores(found, history, domain, catalogue, decay, kind):
    """Scores of a domain's items for one history, oldest first."""
    if kind == "domain":
        history = [item for item in history if catalogue.item_domains[item - 1] == domain]
    offset, size = int(catalogue.offsets[domain]), int(catalogue.sizes[domain])
    scores, seen = [0.0] * size, set()
    for age, item in enumerate(reversed(history)):
        if item in seen:
            continue
        seen.add(item)
        for other in range(offset, offset + size):
            scores[other - offset] += decay**age * found.get((item, other), 0.0)
    return scores


def domain_slice(catalogue, domain):
    return int(catalogue.offsets[domain]), int(catalogue.sizes[domain])


@pytest.mark.parametrize("kind", ["merged", "domain"])
@pytest.mark.parametrize(
    ("shrinkage", "decay", "neighbours"), [(0.0, 1.0, None), (2.5, 0.7, None), (10.0, 0.9, 2)]
)
def test_scores_are_those_of_literal_loops(make_prepared, kind, shrinkage, decay, neighbours):
    prepared = make_prepared(longest=12)
    catalogue = prepared.catalogue
    found = literal_similarities(prepared, shrinkage, neighbours)
    scorer = fit_item_knn(prepared, shrinkage, decay, neighbours, kind)
    checked = 0
    for batch in evaluation_batches(prepared, "test", 16):
        domain = int(batch["domain"][0])
        scores = scorer.scores(scorer.queries(batch), *domain_slice(catalogue, domain))
        assert scores.dtype == np.float32
        for items, row in zip(batch["items"].numpy(), scores, strict=True):
            history = items[items > 0].tolist()
            expected = literal_scores(found, history, domain, catalogue, decay, kind)
            np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
            checked += len(set(history)) < len(history) and any(expected)
    assert checked > 10, "histories must repeat items"


def test_similarity_is_the_cosine_of_the_users_columns(make_prepared):
    prepared = make_prepared(users=50)
    matrix = user_items(prepared)
    assert set(matrix.data) == {1} and matrix.shape == (50, 36)
    columns = matrix.toarray().T[1:]
    cosine = 1 - cdist(columns, columns, "cosine")
    np.fill_diagonal(cosine, 0)
    ours = sparse.hstack(similarities(matrix, prepared.catalogue)).toarray()
    assert not ours[0].any()
    np.testing.assert_allclose(ours[1:], cosine, rtol=0, atol=1e-6)


def test_the_latest_interactions_count_once_and_at_their_age(make_prepared):
    catalogue = make_prepared(sizes=(3, 4)).catalogue
    empty = [sparse.csr_array((8, size), dtype=np.float32) for size in (3, 4)]
    batch = {"items": np.array([[0, 1, 5, 2, 1, 6], [0, 0, 0, 0, 0, 0]], np.int32)}
    batch["domain"] = np.array([0, 0], np.int32)
    merged = ItemKNN(empty, catalogue, 0.5, "merged").queries(batch)
    np.testing.assert_array_equal(merged, [[0, 0, 5, 2, 1, 6], [0] * 6])
    domain = ItemKNN(empty, catalogue, 0.5, "domain").queries(batch)
    np.testing.assert_array_equal(domain, [[0, 0, 0, 0, 2, 1], [0] * 6])


@pytest.mark.parametrize("kind", ["merged", "domain"])
@pytest.mark.parametrize("width", [0, 7])
def test_no_history_scores_nothing(make_prepared, kind, width):
    prepared = make_prepared()
    scorer = fit_item_knn(prepared, history=kind)
    batch = {"items": np.zeros((3, width), np.int32), "domain": np.full(3, 3, np.int32)}
    scores = scorer.scores(scorer.queries(batch), *domain_slice(prepared.catalogue, 3))
    assert scores.shape == (3, 20) and not scores.any()


@pytest.mark.parametrize("kind", ["merged", "domain"])
def test_no_history_ranks_last(make_prepared, kind):
    prepared = make_prepared(users=20)
    for row in prepared.splits["test"]:
        row["items"] = row["items"][:0]
    scorer = fit_item_knn(prepared, history=kind)
    ranks = rank_split(scorer, evaluation_batches(prepared, "test", 16), prepared.catalogue)
    sizes = prepared.catalogue.sizes[ranks.domains]
    np.testing.assert_array_equal(ranks.ranks, np.where(ranks.cold, np.inf, sizes))


@pytest.mark.parametrize(
    ("module", "limit"), [(cosine, "PAIRS_AT_ONCE"), (item_knn, "SCORES_AT_ONCE")]
)
@pytest.mark.parametrize("at_once", [1, 90])
def test_results_do_not_depend_on_how_much_is_held(
    monkeypatch, make_prepared, module, limit, at_once
):
    prepared = make_prepared()
    batch = next(iter(evaluation_batches(prepared, "test", 30)))
    part = domain_slice(prepared.catalogue, int(batch["domain"][0]))

    def scores():
        scorer = fit_item_knn(prepared, 1.0, 0.8, 5)
        return scorer.scores(scorer.queries(batch), *part)

    whole = scores()
    monkeypatch.setattr(module, limit, at_once)
    np.testing.assert_array_equal(scores(), whole)
    assert len(np.unique(whole)) > 20


def test_rows_padding_and_parts_of_a_domain_do_not_matter(make_prepared):
    prepared = make_prepared()
    scorer = fit_item_knn(prepared, 1.0, 0.8, history="domain")
    for batch in evaluation_batches(prepared, "test", 30).take(3):
        offset, size = domain_slice(prepared.catalogue, int(batch["domain"][0]))
        queries = scorer.queries(batch)
        whole = scorer.scores(queries, offset, size)
        np.testing.assert_array_equal(scorer.scores(queries[2:5], offset, size), whole[2:5])
        part = scorer.scores(queries, offset + 1, size - 1)
        np.testing.assert_array_equal(part, whole[:, 1:])
        wider = {"items": np.pad(batch["items"], ((0, 0), (4, 0))), "domain": batch["domain"]}
        np.testing.assert_array_equal(scorer.scores(scorer.queries(wider), offset, size), whole)


def test_items_of_two_domains_are_not_scored_at_once(make_prepared):
    prepared = make_prepared()
    scorer = fit_item_knn(prepared)
    for offset, size in ((1, 13), (12, 2), (16, 21), (36, 1)):
        with pytest.raises(ValueError, match="items must be of one domain"):
            scorer.scores(np.zeros((1, 2), np.int32), offset, size)


def test_neighbours_keep_the_most_similar_in_every_domain(make_prepared):
    prepared = make_prepared()
    matrix = user_items(prepared)
    every = similarities(matrix, prepared.catalogue)
    kept = similarities(matrix, prepared.catalogue, neighbours=2)
    for ours, block in zip(kept, every, strict=True):
        found, dense = np.sort(ours.toarray(), axis=1), np.sort(block.toarray(), axis=1)
        np.testing.assert_array_equal(found[:, -2:], dense[:, -2:])
        assert not found[:, :-2].any()
    assert sum(block.nnz for block in every) > 3 * sum(block.nnz for block in kept)


def test_tuning_keeps_what_is_best_on_validation(monkeypatch, make_prepared):
    prepared = make_prepared(users=150)
    grid = {"history": ("merged", "domain"), "shrinkage": (0.0, 4.0), "decay": (0.5,)}
    monkeypatch.setattr(knn_tuning, "GRID", grid)
    batches = evaluation_batches(prepared, "validation", 64)
    lines: list[str] = []
    best, trials = tune_item_knn(prepared, batches, lines.append)
    assert len(lines) == len(trials) == 4
    assert len({tuple(t[name] for name in grid) for t in trials}) == 4
    values = []
    for trial in trials:
        scorer = fit_item_knn(prepared, **{k: v for k, v in trial.items() if k != "validation"})
        found = rank_split(scorer, batches, prepared.catalogue, with_rows=False)
        values.append(found.metrics(prepared.catalogue.domains)["overall"])
        assert values[-1] == trial["validation"]
    chosen = trials[int(np.argmax([value["ndcg@10"] for value in values]))]
    assert (best.history, best.decay) == (chosen["history"], chosen["decay"])
    again = fit_item_knn(prepared, **{k: v for k, v in chosen.items() if k != "validation"})
    for batch in batches.take(3):
        part = domain_slice(prepared.catalogue, int(batch["domain"][0]))
        np.testing.assert_array_equal(
            best.scores(best.queries(batch), *part), again.scores(again.queries(batch), *part)
        )


def test_similarities_never_are_items_by_items():
    """40,000 items squared would take 6 GB even as float32."""
    users, items, each = 1000, 40_000, 20
    rng = np.random.default_rng(0)
    ids = rng.integers(1, items + 1, users * each)
    matrix = sparse.csr_array(
        (np.ones(len(ids), np.float32), ids, np.arange(users + 1) * each), (users, items + 1)
    )
    names = np.arange(items).astype(str).astype(object)
    domains = np.repeat(np.arange(2, dtype=np.int32), items // 2)
    catalogue = Catalogue(("a", "b"), names, domains, np.ones(items, np.int64))
    tracemalloc.start()
    try:
        scorer = ItemKNN(similarities(matrix, catalogue), catalogue, 0.9, "merged")
        batch = {"items": ids[:200].reshape(10, 20), "domain": np.zeros(10, np.int32)}
        scores = scorer.scores(scorer.queries(batch), 1, items // 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert scores.any()
    assert peak < 100e6


@pytest.mark.parametrize(
    "wrong",
    [{"decay": 0.0}, {"decay": 1.1}, {"shrinkage": -1.0}, {"neighbours": 0}, {"history": "both"}],
)
def test_wrong_settings_raise(make_prepared, wrong):
    with pytest.raises(ValueError, match=rf"{next(iter(wrong))} must .* Received"):
        fit_item_knn(make_prepared(users=3), **wrong)
