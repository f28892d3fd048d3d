"""Lists are those that ranking has, and what is said of them is of each domain's own items."""

import json

import numpy as np
import pytest

from tests.support.candidates import excluded
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation import beyond_accuracy
from tf_syncrec.evaluation.beyond_accuracy import K, domain_exposure, measure_answers, top_answers
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split

SIZES = (30, 3, 0, 20)


@pytest.fixture
def setting(make_model, make_prepared):
    prepared = make_prepared(SIZES, users=50)
    model = make_model(SIZES)
    return prepared, model, ModelScorer(model), evaluation_batches(prepared, "test", 16)


def test_lists_are_the_first_places_of_the_ranking(setting):
    prepared, _, scorer, batches = setting
    catalogue = prepared.catalogue
    answers = top_answers(scorer, batches, catalogue)
    ranks = rank_split(scorer, batches, catalogue)
    there = np.isin(ranks.domains, np.flatnonzero(catalogue.sizes))
    assert (answers.domains == ranks.domains[there]).all()
    found = (answers.items == answers.targets[:, None]) & (answers.targets[:, None] > 0)
    place = np.where(found.any(axis=1), found.argmax(axis=1) + 1.0, np.inf)
    expected = np.where(ranks.ranks[there] <= K, ranks.ranks[there], np.inf)
    assert (place == expected).all() and np.isfinite(place).any()
    full = (answers.items > 0).sum(axis=1)
    assert set(full[answers.domains == 0]) == {K} and full[answers.domains == 1].max() <= 3
    ids = answers.items[answers.items > 0]
    owners = np.repeat(answers.domains, (answers.items > 0).sum(axis=1))
    assert (catalogue.item_domains[ids - 1] == owners).all()
    histories = {row["user_id"]: excluded(row, catalogue) for row in prepared.splits["test"]}
    for user, items in zip(ranks.user_ids[there], answers.items, strict=True):
        assert not set(items[items > 0]) & set(histories[user])


def test_no_more_users_of_a_domain_than_asked_for(setting, monkeypatch):
    prepared, model, scorer, batches = setting
    monkeypatch.setattr(beyond_accuracy, "USERS", 4)
    answers = top_answers(scorer, batches, prepared.catalogue)
    assert np.bincount(answers.domains).max() == 4
    found = measure_answers(
        scorer, batches, prepared.catalogue, model.mixture, model.candidate_vectors
    )
    json.dumps(found, allow_nan=False)
    assert found["overall"]["users"] == len(answers.domains)
    assert found["domains"]["domain 2"]["coverage"] == 0.0  # has no items
    assert 0 < found["domains"]["domain 0"]["coverage"] <= 1.0


def test_exposure_is_the_part_of_places_in_lists_of_all_domains(setting):
    prepared, _, scorer, batches = setting
    catalogue = prepared.catalogue
    exposed = domain_exposure(scorer, batches, catalogue, None)
    places = np.zeros(len(SIZES))
    for batch in batches:
        rows = []
        for d, queries in enumerate(scorer.queries_of_domains(batch, len(SIZES))):
            offset, size = int(catalogue.offsets[d]), int(catalogue.sizes[d])
            rows.append(np.array(scorer.scores(queries, offset, size)))
        scores = np.concatenate(rows, axis=1)
        for row, out in zip(scores, batch["excluded"].numpy(), strict=True):
            row[out[out > 0] - 1] = -np.inf
            best = np.argsort(-row, kind="stable")[:K]
            places += np.bincount(catalogue.item_domains[best], minlength=len(SIZES))
    assert exposed == pytest.approx(places / places.sum())
    assert exposed.sum() == pytest.approx(1.0)
