"""Networks that know attributes of items: in training, plain, with more items."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.support.listed_items import listed, with_items
from tests.support.networks import each
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer
from tf_syncrec.layers.score_terms.popularity_trend import BEHIND
from tf_syncrec.models.registry import NETWORKS, network_of
from tf_syncrec.scoring.fit_score import fit_score
from tf_syncrec.scoring.new_items.more_items import NewItems, with_more_items
from tf_syncrec.scoring.votes import count_neighbours
from tf_syncrec.training.initial.item_vectors import initialise_items
from tf_syncrec.training.optimizers import RowwiseAdam

SETTINGS = {"dim": 8, "blocks": 1, "experts": 2, "cross_experts": 1, "window": 12}
SETTINGS |= {"likeness": 4, "new_items": 4}
LIKE_NO_OTHER = ("bitgcf", "dtcdr", "c2dsr", "mifn")
"""What items are is more than rows of a table, even without attributes."""


@pytest.fixture
def prepared(make_prepared):
    return with_items(make_prepared(sizes=(12, 5, 20)))


COUNTED = "rarity", "lengths"
"""What like users' votes know of the log: it is there when a network is made, 0 for padding."""


def built(name, prepared, seed=0, precision="float32") -> Any:
    """A network in which all that can be learned has some size."""
    keras.utils.set_random_seed(seed)
    settings = {"model": SETTINGS | {"name": name, "neighbours": 4, "user_neighbours": 3}}
    config = Config.model_validate(settings | {"train": {"precision": precision}})
    model = network_of(name).build(config, prepared)
    initialise_items(model, config, prepared, lambda line: None)
    rng = np.random.default_rng(seed)
    for embedding in model.embeddings:
        for weight in embedding.item_weights[1:]:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    for part in model.terms:
        for weight in part.weights:
            if weight.dtype == "float32" and weight.name not in COUNTED:
                weight.assign(rng.uniform(0.1, 0.9, weight.shape))
    count_neighbours(model, prepared)
    return model


def asked(model, prepared):
    """Queries of some users in the second domain."""
    rows = prepared.splits["test"][:6]
    longest = max(len(row["items"]) for row in rows)
    items = np.stack([np.pad(row["items"], (longest - len(row["items"]), 0)) for row in rows])
    inputs = {"items": tf.constant(items), "domain": tf.fill([len(rows)], 1)}
    inputs["user_id"] = tf.constant([row["user_id"] for row in rows])
    return {name: inputs[name] for name in model.evaluation_signature}


@pytest.mark.parametrize("name", each(NETWORKS))
def test_every_network_learns_attributes_and_never_touches_items_that_nobody_has_had(
    name, prepared
):
    config = Config.model_validate({"model": SETTINGS | {"name": name}})
    model: Any = network_of(name).build(config, prepared)
    initialise_items(model, config, prepared, lambda line: None)
    model.compile(RowwiseAdam(0.01))
    before = [[w.numpy() for w in e.item_weights] for e in model.embeddings]
    batches = train_batches(prepared, model.window, 16, 0, model.batch_layout, "all")
    for batch in batches.epochs(range(1)).take(3):
        model.train_step(batch)
    cold = np.flatnonzero(prepared.catalogue.cold)
    for embedding, (own, table, projection) in zip(model.embeddings, before, strict=True):
        now = [weight.numpy() for weight in embedding.item_weights]
        np.testing.assert_array_equal(now[0][cold], own[cold])
        assert not own[cold][embedding.attributes.known(cold)].any(), (
            "nothing is known of them alone"
        )
        assert (now[0] != own).any() and (now[1] != table).any() and (now[2] != projection).any()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("syncrec", "float32"),
        ("sasrec_pair", "float32"),
        ("bprmf", "float32"),
        ("sasrec", "mixed_bfloat16"),
        *(pytest.param(name, "float32", marks=pytest.mark.slow) for name in LIKE_NO_OTHER),
    ],
)
def test_the_plain_network_says_the_same(name, precision, prepared):
    model = built(name, prepared, precision=precision)
    plain = model.plain()
    assert plain.embedding.attributes is None
    every = tf.range(model.num_items + 1)
    np.testing.assert_allclose(
        plain.candidate_vectors(every), model.candidate_vectors(every), atol=1e-5
    )
    queries = asked(model, prepared)
    off = 1e-5 if precision == "float32" else 0.05  # rounded, or not, before the sum
    np.testing.assert_allclose(
        plain(queries), model(queries), atol=off * np.abs(model(queries)).max()
    )
    histories = asked(built("sasrec", prepared), prepared)["items"]
    for voter, same in zip(model.voters, plain.voters, strict=True):
        for ours, theirs in zip(voter(histories), same(histories), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(plain.trend(every), model.trend(every))
    assert plain.plain() is plain


@pytest.mark.parametrize(
    "name",
    ["syncrec", "sasrec_pair", *(pytest.param(n, marks=pytest.mark.slow) for n in LIKE_NO_OTHER)],
)
def test_items_that_come_later_are_what_their_attributes_say(name, prepared):
    model = built(name, prepared)
    catalogue = prepared.catalogue
    table = listed(np.random.default_rng(5), 7, 0.8)
    rows = model.item_encoder.encode(table)
    domains = np.array([2, 0, 1, 2, 2, 0, 1])
    new = NewItems([f"later {n}" for n in range(7)], domains, rows)
    larger: Any
    larger, whole = with_more_items(model, catalogue, new)

    assert whole.sizes.tolist() == (catalogue.sizes + np.array([2, 2, 3])).tolist()
    assert whole.trained_sizes.tolist() == catalogue.trained_sizes.tolist()
    places = {item: place for place, item in enumerate(whole.item_ids, start=1)}
    kept = np.array([places[item] for item in catalogue.item_ids])
    assert (np.diff(kept) > 0).all(), "in the same order"
    added = np.array([places[item] for item in new.item_ids])
    np.testing.assert_array_equal(whole.item_domains[added - 1], domains)

    # Known items are what they were, wherever they stand now.
    moved = np.append(0, kept)
    np.testing.assert_allclose(
        larger.candidate_vectors(tf.constant(kept)),
        model.candidate_vectors(tf.range(1, catalogue.num_items + 1)),
        atol=1e-6,
    )
    queries = asked(model, prepared)
    of_larger = queries | {"items": tf.constant(moved[queries["items"].numpy()])}
    np.testing.assert_allclose(larger(of_larger), model(queries), atol=1e-5)
    for voter, same in ((model.neighbours, larger.neighbours), (model.likeness, larger.likeness)):
        ids, votes = voter(queries["items"])
        same_ids, same_votes = same(of_larger["items"])
        np.testing.assert_array_equal(moved[ids.numpy()], same_ids)
        np.testing.assert_allclose(votes, same_votes, rtol=1e-5)
    gains = model.trend(tf.range(1, catalogue.num_items + 1))
    np.testing.assert_array_equal(larger.trend(tf.constant(kept)), gains)

    # New ones are the sum over their attributes, and gain what such items gain.
    for embedding in larger.embeddings:
        expected = rows.dense @ embedding.attributes.projection.numpy()
        for row in range(7):
            for token, weight in zip(rows.tokens[row], rows.weights[row], strict=True):
                expected[row] += weight * embedding.attributes.table.numpy()[token]
        np.testing.assert_allclose(
            embedding.embed_items(tf.constant(added)), expected, rtol=1e-4, atol=1e-5
        )
    for place, domain in zip(added, domains, strict=True):
        known = model.embedding.attributes.known(np.arange(1, catalogue.num_items + 1)).numpy()
        cold = np.flatnonzero(known & (catalogue.counts == 0) & (catalogue.item_domains == domain))
        of_known = larger.embedding.attributes.known(tf.constant([place])).numpy()[0]
        expected = model.trend.gain.numpy()[cold[0] + 1] if of_known else BEHIND
        assert larger.trend.gain.numpy()[place] == expected
    assert 0 < larger.embedding.attributes.known(tf.constant(added)).numpy().sum() < 7
    # They are voted for.
    assert np.isin(added, larger.new_items.others.numpy()).any()


def test_without_a_file_of_items_nothing_is_there(make_prepared):
    config = Config.model_validate({"model": SETTINGS})
    model = network_of("syncrec").build(config, make_prepared())
    assert model.embedding.attributes is model.likeness is model.new_items is model.trend is None
    assert model.plain() is model
    with pytest.raises(ValueError, match="without attributes"):
        nothing: Any = None
        with_more_items(model, make_prepared().catalogue, nothing)


@pytest.mark.parametrize("attributes", [True, False])
def test_of_what_nobody_had_and_nothing_is_known_nobody_is_recommended(attributes, make_prepared):
    """Before and after the score is fitted, and as served; what is known competes."""
    prepared = with_items(make_prepared(sizes=(12, 5, 20)))
    table = prepared.item_columns.table.to_pydict()
    cold = prepared.catalogue.cold
    unlisted = cold & (np.arange(len(cold)) % 2 == 0)  # the file has their ids, and no more
    for name in ("brand", "words", "seen"):
        table[name] = [None if unlisted[n + 1] else v for n, v in enumerate(table[name])]
    columns = prepared.item_columns
    changed = pa.table(table, schema=columns.table.schema)
    prepared.item_columns = dataclasses.replace(columns, table=changed)
    settings = SETTINGS | {"name": "sasrec", "item_attributes": attributes}
    keras.utils.set_random_seed(0)
    config = Config.model_validate({"model": settings})
    model: Any = network_of("sasrec").build(config, prepared)
    behind = unlisted if attributes else cold
    assert behind.any()

    def look(scorer):
        scorer.refresh()
        for batch in evaluation_batches(prepared, "test", 16):
            domain = int(batch["domain"][0])
            offset, size = prepared.catalogue.offsets[domain], prepared.catalogue.sizes[domain]
            scores = np.array(scorer.scores(scorer.queries(batch), int(offset), int(size)))
            last = behind[offset : offset + size]
            assert (scores[:, last].max(axis=1) < scores[:, ~last].min(axis=1) - 100).all()

    look(ModelScorer(model))
    if not attributes:  # there is nothing else to fit, which would take long
        validation = evaluation_batches(prepared, "validation", 32)
        fit_score(model, prepared, validation, lambda line: None, judge=False)
        look(ModelScorer(model))
    look(ModelScorer(model.plain()))


def test_at_rest_items_are_made_once_and_afterwards_anew(prepared, monkeypatch):
    model = built("sasrec", prepared)
    asked_for = []
    attributes = model.embedding.attributes
    of_all = type(attributes).of_all

    def counted(self):
        asked_for.append(self)
        return of_all(self)

    monkeypatch.setattr(type(attributes), "of_all", counted)
    before = model.embedding.whole_table().numpy()
    with model.at_rest(), model.at_rest():
        asked_for.clear()
        for _ in range(3):
            ModelScorer(model).refresh()
        np.testing.assert_array_equal(model.embedding.whole_table(), before)
    assert not asked_for
    attributes.table.assign(attributes.table + 1)
    known = attributes.known(np.arange(model.num_items + 1, dtype=np.int32)).numpy()
    assert (model.embedding.whole_table().numpy()[known] != before[known]).any(axis=1).all()
