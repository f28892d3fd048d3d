"""C²DSR: what the graphs pass on, what is replaced, and who learns to tell that."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import FakePrepared
from tests.support.published import SIZES, gradients, next_of_domain, sigmoid, tiny
from tests.training.test_warm_start import catalogue_of
from tf_syncrec.models.cross_domain.two_domains.c2dsr import C2DSR
from tf_syncrec.models.cross_domain.two_domains.item_graph import ItemGraph, transitions

MERGED = np.array([[1, 2], [1, 7], [2, 7], [7, 1], [7, 10], [7, 12], [12, 7]])
SINGLE = np.array([[1, 2], [2, 1], [10, 12]])
ASKED = np.array([[2, 0, 1]], np.int32)


def small(**more):
    return tiny(C2DSR, edges=(MERGED, SINGLE), blocks=1, **more)


def test_edges_are_what_came_right_after_what():
    catalogue = catalogue_of({"books": ["b1", "b2", "b3"], "films": ["f1", "f2"]})
    sequences = [[1, 4, 2, 5, 5], [3, 1, 4], [2]]
    rows = [
        {"user_id": b"%d" % user, "items": np.array(items, np.int32)}
        for user, items in enumerate(sequences)
    ]
    merged, single = transitions(FakePrepared(catalogue, {"train": rows}))
    assert merged.tolist() == [[1, 4], [2, 5], [3, 1], [4, 2], [5, 5]]
    assert single.tolist() == [[1, 2], [3, 1], [4, 5], [5, 5]]


@pytest.mark.parametrize("depth", [1, 3])
def test_vectors_are_passed_on_as_dense_matrices_say(depth):
    model = small(depth=depth)
    items = model.embedding.items.numpy()
    for graph, edges, found in zip(model.graphs, (MERGED, SINGLE), model.passed_on(), strict=True):
        adjacency = np.zeros((13, 13))
        adjacency[edges[:, 0], edges[:, 1]] = 1.0
        adjacency /= np.maximum(adjacency.sum(axis=1, keepdims=True), 1)
        layers = [np.linalg.matrix_power(adjacency, n) @ items for n in range(depth + 1)]
        np.testing.assert_allclose(found, np.mean(layers, axis=0), rtol=1e-4, atol=1e-5)
        assert graph.num_edges == len(edges)


def test_items_pass_on_their_attributes_alone_where_their_own_part_is_dropped():
    model = small(attributes={"size": 2, "per_item": 1}, own_dropout=0.999)
    ids = np.array([[0], *[[1], [2]] * 5, [0], [0]], np.int32)  # of 11 and 12 nothing is known
    model.embedding.set_attributes(ids, (ids > 0).astype(np.float32))
    for training, dropped in ((True, True), (None, False)):
        with tf.GradientTape() as tape:
            merged, single = model.passed_on(training)
            loss = tf.reduce_sum(merged**3) + tf.reduce_sum(single**3)
        moved = tf.convert_to_tensor(tape.gradient(loss, model.embedding.items.value)).numpy()
        assert moved[1:11].any() != dropped and moved[12].any()


def test_an_item_is_what_its_graphs_say_as_well_and_served_all_at_once():
    """Neighbours change what an item is in the stream whose graph has the edge, and no other."""
    model = small()
    items = np.array([[0, 3, 7]], np.int32)
    before = model.query_vectors(items, ASKED).numpy()[0]
    table = model.embedding.items.numpy()
    table[10] = -table[10]  # what came after 7 in merged sequences alone
    model.embedding.items.assign(table)
    after = model.query_vectors(items, ASKED).numpy()[0]
    assert np.abs(after - before).max(axis=1).min() > 1e-4
    plain = model.plain()
    assert plain is not model and plain.plain() is plain
    np.testing.assert_allclose(plain.query_vectors(items, ASKED)[0], after, rtol=1e-5, atol=1e-6)
    for graph in model.graphs:
        graph.set_edges(np.zeros_like(graph.edges))
    assert np.abs(model.query_vectors(items, ASKED)[0] - after).max() > 1e-4
    np.testing.assert_allclose(plain.query_vectors(items, ASKED)[0], after, rtol=1e-5, atol=1e-6)


def streams(model, items, training=False):
    views = model.training_views(tf.constant(items), None, None, training)
    graphs = model.passed_on()
    return views, model._cross(views[0], graphs[0]), model._single(views[1], graphs[1])


@pytest.fixture
def runs(monkeypatch):
    """One more for each time that a graph passes on, in functions too."""
    found = tf.Variable(0)
    call = ItemGraph.call

    def watched(graph, x):
        found.assign_add(1)
        return call(graph, x)

    monkeypatch.setattr(ItemGraph, "call", watched)
    return found


def test_at_rest_graphs_are_read_once_and_afterwards_anew(runs):
    """By functions that were traced before, at rest and afterwards alike."""
    batch = {"items": tf.constant([[0, 3, 7]]), "domain": tf.constant([1])}
    early, late = small(), small()
    before = early.asked.queries(batch).numpy()
    for model in early, late:
        runs.assign(0)
        with model.at_rest(), model.at_rest():
            for _ in range(2):
                np.testing.assert_allclose(model.asked.queries(batch), before, rtol=1e-5)
            assert runs == 2
        model.embedding.items.assign(-model.embedding.items)
        after = model.asked.queries(batch).numpy()
        assert runs == 4 and np.abs(after - before).max() > 1e-3


def test_an_evaluation_reads_graphs_once_and_the_next_one_anew(runs):
    model = small()
    row = {"items": [0, 3, 7], "domain": 1, "target": 8, "excluded": [0]}
    row = {name: np.array(value, np.int32) for name, value in row.items()}
    batches = tf.data.Dataset.from_tensors(row).repeat(4).batch(2)
    model.compile(jit_compile=False)
    for _ in range(2):
        runs.assign(0)
        model.evaluate(batches, verbose=0)
        assert runs == 2


def test_items_of_one_domain_are_replaced_and_no_others(make_items):
    model = tiny(C2DSR, (50, 40, 30), blocks=1, window=12)
    items = make_items([11, 9], (50, 40, 30))
    view, _ = model.training_views(tf.constant(items))
    for d, (first, last) in enumerate(((1, 50), (51, 90), (91, 120))):
        tokens, drawn = view.tokens.numpy(), model.corrupted(view, d).tokens.numpy()
        of_d = (tokens >= first) & (tokens <= last)
        np.testing.assert_array_equal(tokens[~of_d], drawn[~of_d])
        assert (drawn[of_d] >= first).all() and (drawn[of_d] <= last).all()
        assert (drawn[of_d] != tokens[of_d]).mean() > 0.5


def domains(view):
    """Domain of the item in each slot; -1 where there is none."""
    found = np.searchsorted(np.cumsum(SIZES), view.tokens.numpy() - 1, side="right")
    return np.where(view.tokens.numpy() > 0, found, -1)


def test_infomax_is_the_two_terms_of_each_user_and_domain(monkeypatch):
    """Prototypes slot by slot; who has one domain alone is not asked."""
    model = small()
    items = np.array([[1, 7, 10, 2, 8, 11], [3, 11, 4, 12, 5, 10], [0, 0, 6, 8, 7, 9]], np.int32)

    def one_further(view, d):  # no chance: the next item of the domain
        tokens = view.tokens.numpy()
        moved = next_of_domain(np.maximum(tokens, 0))
        return view._replace(
            tokens=tf.constant(np.where(domains(view) == d, moved, tokens), tf.int32)
        )

    monkeypatch.setattr(model, "corrupted", one_further)
    (cross_view, single_view), cross, single = streams(model, items)
    graph = model.passed_on()[0]
    expected = 0.0
    for d in range(3):
        costs = []
        false = model._cross(one_further(cross_view, d), graph).numpy()
        for user in range(3):
            own = np.flatnonzero(domains(single_view)[user] == d)
            others = np.flatnonzero(~np.isin(domains(cross_view)[user], [d, -1]))
            if not len(own) or not len(others):
                continue
            g = single.numpy()[user, own].mean(axis=0) @ model.infomax.discriminators.numpy()[d]
            bias = model.infomax.discriminators_bias.numpy()[d]
            real, fake = (
                sigmoid(g @ h[user, others].mean(axis=0) + bias) for h in (cross.numpy(), false)
            )
            costs.append(-np.log(real) - np.log(1 - fake))
        assert len(costs) == (2, 1, 2)[d]
        expected += np.mean(costs)
    losses = model.batch_losses(items, training=False)
    np.testing.assert_allclose(losses.infomax, expected, rtol=1e-4)
    mixed = 0.7 * (losses.prediction + losses.cross) + 0.3 * losses.infomax
    np.testing.assert_allclose(losses.total, mixed, rtol=1e-6)


def test_a_discriminator_learns_from_users_of_its_domain_who_have_others(make_items):
    model = small(negatives=2)
    items = make_items([6, 5, 6], domains=[[0, 2], [0, 2], [1]])
    found = gradients(model, items)
    size = np.abs(found[model.infomax.discriminators.path]).max(axis=(1, 2))
    assert size[1] == 0.0 and size[[0, 2]].min() > 1e-6
    for path, gradient in found.items():
        assert np.abs(gradient).max() > 1e-6, path


def test_graphs_are_kept_and_are_not_learned(tmp_path):
    model = small()
    assert {w.path for w in model.learned}.isdisjoint(g.edges.path for g in model.graphs)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for graph, edges in zip(loaded.graphs, (MERGED, SINGLE), strict=True):
        np.testing.assert_array_equal(graph.edges, edges)
    assert [ids.path for ids in model.item_lists] == [g.edges.path for g in model.graphs]
