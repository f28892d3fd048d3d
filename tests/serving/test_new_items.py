"""Items that nobody has had, in what is served: as ranked, and more of them after the training."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from data_prep import InputError
from data_prep.settings import data_config
from serving.more_items import read_more_items
from serving.saved_model.recommender import Recommender
from tests.models.test_item_attributes import built
from tests.support.listed_items import listed, with_items
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.scoring.new_items.more_items import NewItems, with_more_items


@pytest.fixture
def known(make_prepared):
    prepared = with_items(make_prepared(sizes=(12, 5, 20)))
    return prepared, built("syncrec", prepared)


def answers(model, prepared, catalogue, rows):
    """What the served graph answers to histories of raw ids, in all domains, all items of each."""
    recommender = Recommender(model, catalogue, top_k=3, max_k=catalogue.num_items)
    longest = max(len(row["items"]) for row in rows)
    ids = np.append("", prepared.catalogue.item_ids)
    items = [
        [""] * (longest - len(row["items"])) + [ids[item] for item in row["items"]] for row in rows
    ]
    domains = [prepared.catalogue.domains[row["domain"]] for row in rows]
    found = recommender.functions["top_k"](
        items=tf.constant(items),
        domain=tf.constant(domains),
        k=tf.fill([len(rows)], catalogue.num_items),
    )
    return recommender, found["items"].numpy().astype(str)


def test_what_is_served_is_what_was_ranked(known):
    prepared, model = known
    rows = [row for row in prepared.splits["test"] if row["target"] and len(row["items"])]
    recommender, served = answers(model, prepared, prepared.catalogue, rows)
    ranks = rank_split(
        ModelScorer(model), evaluation_batches(prepared, "test", 16), prepared.catalogue
    )
    by_user = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
    cold = set(prepared.catalogue.item_ids[prepared.catalogue.counts == 0])
    seen = 0
    for row, answer in zip(rows, served, strict=True):
        place = np.flatnonzero(answer == row["target_item_id"].decode())
        expected = by_user[row["user_id"]]
        assert (place[0] + 1 if len(place) else np.inf) == expected
        seen += bool(cold & set(answer))
    assert seen == len(rows), "items that nobody has had are answered"
    sizes = {tuple(weight.shape) for weight in recommender.weights}
    attributes = model.embedding.attributes
    assert tuple(attributes.table.shape) not in sizes, "what is served knows no attributes"


def test_vectors_of_another_length_are_named(known, tmp_path):
    prepared, model = known
    file = tmp_path / "more.parquet"
    values = {"item_id": ["new"], "domain": [prepared.catalogue.domains[0]], "brand": ["b0"]}
    data = data_config("interactions", path="log.csv", items={"path": "x.csv"})
    config = Config().model_copy(update={"data": data})
    for length in (2, 3):
        more = values | {"words": [["w1"]], "seen": [[0.5] * length]}
        pq.write_table(pa.table(more), file)
        asked = file, config, model, prepared.catalogue, lambda line: None
        if length == 3:
            assert read_more_items(*asked)[1].num_items == prepared.catalogue.num_items + 1
            continue
        told = r"--items .*more\.parquet: column 'seen': .* 3 numbers, .* received 2"
        with pytest.raises(InputError, match=told):
            read_more_items(*asked)


def test_items_of_today_are_answered_by_the_model_of_yesterday(known):
    prepared, model = known
    table = listed(np.random.default_rng(5), 6)
    new = NewItems(
        [f"later {n}" for n in range(6)],
        np.arange(6) % 3,
        model.item_encoder.encode(table),
    )
    larger, whole = with_more_items(model, prepared.catalogue, new)
    rows = [row for row in prepared.splits["test"] if len(row["items"])][:8]
    _, before = answers(model, prepared, prepared.catalogue, rows)
    _, after = answers(larger, prepared, whole, rows)
    counts = dict(zip(prepared.catalogue.item_ids, prepared.catalogue.counts, strict=True))
    for row, old, now in zip(rows, before, after, strict=True):
        names = {
            name
            for name, domain in zip(new.item_ids, new.domains, strict=True)
            if domain == row["domain"]
        }
        assert names <= set(now)
        # Those that somebody has had stand in the order in which they stood.
        kept = [item for item in now if counts.get(item)]
        assert kept == [item for item in old if counts.get(item)]
