"""What the report shows of single users and of pairs of domains agrees with the ranking."""

import gzip

import numpy as np
import pytest
import tensorflow as tf

from data_prep import InputError
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.influence import influence
from tf_syncrec.evaluation.ranking import ModelScorer, PopularityScorer, rank_split
from tf_syncrec.evaluation.samples import ANSWERS, read_titles, sample_recommendations
from tf_syncrec.metrics.gains import user_gains

SIZES = (12, 3, 0, 20)


@pytest.fixture
def setting(make_model, make_prepared):
    prepared = make_prepared(SIZES, users=50)
    model = make_model(SIZES)
    return prepared, ModelScorer(model)


def test_recommendations_are_the_ranking(setting):
    prepared, scorer = setting
    batches = evaluation_batches(prepared, "test", 16)
    rows = sample_recommendations(scorer, batches, prepared.catalogue)
    ranks = rank_split(scorer, batches, prepared.catalogue)
    rank_of = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
    histories = {
        row["user_id"].decode(): [f"item {i}" for i in row["items"]]
        for row in prepared.as_dataset("test").as_numpy_iterator()
    }
    assert {row["domain"] for row in rows} == {"domain 0", "domain 1", "domain 3"}
    found = 0
    for row in rows:
        history = histories[row["user_id"]]
        assert row["history"] == history[-6:]
        assert row["earlier"] == max(len(history) - 6, 0)
        assert not set(row["recommended"]) & set(history)
        assert len(set(row["recommended"])) == len(row["recommended"]) <= ANSWERS
        rank = rank_of[row["user_id"].encode()]
        if row["target"] not in history and rank <= len(row["recommended"]):
            assert row["recommended"][rank - 1] == row["target"]
            found += 1
    assert found


def test_influence_is_the_difference_of_two_rankings(setting):
    prepared, scorer = setting
    catalogue = prepared.catalogue
    found = influence(scorer, evaluation_batches(prepared, "validation", 16), catalogue)
    rows = list(prepared.as_dataset("validation").as_numpy_iterator())

    def gain(row, items):
        batch = {name: tf.constant([row[name]]) for name in row} | {
            "items": tf.constant([items], tf.int32)
        }
        return user_gains(rank_split(scorer, [batch], catalogue).ranks, "ndcg@10")[0]

    domain_of = np.concatenate([[-1], catalogue.item_domains])
    checked = 0
    for d, domain in enumerate(catalogue.domains):
        for e, other in enumerate(catalogue.domains):
            changes = [
                gain(row, row["items"]) - gain(row, row["items"][domain_of[row["items"]] != e])
                for row in rows
                if row["domain"] == d != e and (domain_of[row["items"]] == e).any()
            ]
            cell = found.get(domain, {}).get(other)
            if len(changes) < 2:
                assert cell is None
                continue
            assert cell["users"] == len(changes)
            np.testing.assert_allclose(cell["change"], np.mean(changes), atol=1e-6)
            error = np.std(changes, ddof=1) / np.sqrt(len(changes))
            np.testing.assert_allclose(cell["error"], error, atol=1e-6)
            checked += 1
    assert checked >= 6


def test_a_scorer_that_reads_no_history_is_not_influenced(make_prepared):
    prepared = make_prepared(SIZES)
    batches = evaluation_batches(prepared, "validation", 16)
    found = influence(PopularityScorer(prepared.catalogue), batches, prepared.catalogue)
    assert found
    assert all(cell["change"] == 0 for cells in found.values() for cell in cells.values())


@pytest.mark.parametrize("packed", [False, True])
def test_titles(tmp_path, packed):
    text = 'price,title,item_id\n1,"A ""b"",\nand more",i1\n2,NULL,i2\n3,again,i1\n4,other,007\n'
    file = tmp_path / ("t.csv.gz" if packed else "t.csv")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    titles = read_titles(file, ["i1", "i2", "007", "unknown"])
    assert titles == {"i1": 'A "b",\nand more', "i2": "NULL", "007": "other"}
    assert read_titles(file, []) == {}


@pytest.mark.parametrize("text", [None, "", "item_id,name\n1,2\n", "item_id,title\n1\n"])
def test_a_file_without_titles_is_told(tmp_path, text):
    file = tmp_path / "titles.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=r"--titles .*titles\.csv"):
        read_titles(file, ["1"])
