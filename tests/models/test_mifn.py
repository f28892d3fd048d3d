"""MIFN: what is handed to a domain by behaviour and by related items, written out."""

import keras
import numpy as np
import pytest

from tests.conftest import FakePrepared
from tests.models.test_man import softmax
from tests.models.test_pi_net import TWO, gru
from tests.support.published import domain_of, norm, representations, sigmoid, tiny
from tests.training.test_warm_start import catalogue_of
from tf_syncrec.models.cross_domain.two_domains.mifn import MIFN
from tf_syncrec.models.cross_domain.two_domains.related_items import related_items

RELATED = np.zeros((10, 2, 2), np.int32)
RELATED[1:6, 0] = [[2, 3], [1, 4], [5, 0], [2, 5], [3, 1]]
RELATED[1:6, 1] = [[6, 7], [9, 0], [8, 6], [0, 0], [7, 9]]
RELATED[6:, 0] = [[1, 2], [3, 0], [4, 5], [2, 4]]
RELATED[6:, 1] = [[7, 8], [6, 0], [9, 7], [8, 6]]
BOTH = np.array([[1, 0]], np.int32)


def small(sizes=TWO, related=RELATED):
    return tiny(MIFN, sizes, related=related)


@pytest.mark.parametrize("least", [1, 2, 3])
def test_items_are_related_that_enough_users_had(least):
    """What few users had together tells them their own targets in training."""
    catalogue = catalogue_of({"books": ["b1", "b2", "b3"], "films": ["f1", "f2"]})
    sequences = [[1, 4, 2], [4, 1, 2, 4], [2, 5], [3, 2], [1, 2], [5, 3, 1]]
    rows = [
        {"user_id": b"%d" % user, "items": np.array(items, np.int32)}
        for user, items in enumerate(sequences)
    ]
    found = related_items(FakePrepared(catalogue, {"train": rows}), 2, least)
    had = np.array([[item in items for item in range(6)] for items in sequences], float)
    together = had.T @ had
    cosine = together / np.maximum(np.sqrt(np.outer(np.diag(together), np.diag(together))), 1e-9)
    np.fill_diagonal(cosine, 0.0)
    cosine[together < least] = 0.0
    for item, of_domain in np.ndindex(6, 2):
        ids = np.array([1, 2, 3] if of_domain == 0 else [4, 5])
        order = sorted(ids, key=lambda other: (-cosine[item, other], other))
        expected = [other for other in order if cosine[item, other] > 0][:2]
        assert found[item, of_domain].tolist() == [*expected, 0, 0][:2]
    assert found.any()


def test_what_one_user_had_together_is_not_related():
    """Not even the only one: else a training would be told most targets of such a log."""
    catalogue = catalogue_of({"books": ["b1", "b2"], "films": ["f1", "f2"]})
    rows = [{"user_id": b"0", "items": np.array([1, 3, 2, 4], np.int32)}]
    assert not related_items(FakePrepared(catalogue, {"train": rows})).any()


def literal(model, history, d):
    """Both units of two domains, one item after another; None where there is nothing."""
    cell, part = model.recurrent.cell, model.embedding
    table = part.items.numpy()
    h, s, c = ([np.zeros(8), np.zeros(8)] for _ in range(3))
    had, latest = [0, 0], [0, 0]
    user = cell.users.numpy()[:, 0]
    for item in [0, *history]:
        x = table[item] if item else part.start_tokens.numpy()[0]
        x = norm(x + part.positions.numpy()[0])
        moving = [domain_of(item, TWO)] if item else [0, 1]
        if item:
            had[moving[0]], latest[moving[0]] = 1, item
        for a in moving:
            h[a] = gru(x, h[a], cell.recurrent["encoder"], a)
        for a in moving:
            seen = np.concatenate([h[a], had[1 - a] * h[1 - a], s[a]])
            of_user = user[a] @ cell.gate_members.numpy()[a]
            gate = sigmoid(seen @ cell.gate.numpy()[a] + of_user + cell.gate_bias.numpy()[a])
            of_user = user[a] @ cell.new_members.numpy()[a]
            new = np.concatenate([h[a], s[a]]) @ cell.new.numpy()[a]
            new = np.tanh(new + of_user + cell.new_bias.numpy()[a])
            s[a] = gate * s[a] + (1 - gate) * new
            c[a] = gru(s[a], c[a], cell.recurrent["transfer"], a)
    handed = had[1 - d] * c[1 - d]

    g = np.zeros(8)
    of_h, of_c, of_node = model.gate.numpy()
    for kind, (query, item) in enumerate(((h[d], latest[d]), (handed, latest[1 - d]))):
        nodes = [node for node in model.related.numpy()[item, d] if node]
        if not nodes:
            continue
        e = table[nodes]
        asked = query @ model.node_query.numpy()[kind]
        logits = np.tanh(asked + e @ model.node_key.numpy()[kind])
        shares = softmax((logits @ model.node_weight.numpy()[kind])[:, 0])
        f = sigmoid(h[d] @ of_h + handed @ of_c + e @ of_node + model.gate_bias.numpy())
        kept = f if kind == 0 else 1 - f
        g += (kept * shares[:, None] * e).sum(axis=0) @ model.node_value.numpy()[kind]
    x = np.concatenate([h[d], handed, g])
    p = sigmoid(x @ model.switch.numpy()[d] + model.switch_bias.numpy()[d, 0])
    behaviour = x[:16] @ model.outputs_kernel.numpy()[d] + model.outputs_bias.numpy()[d, 0]
    return (1 - p) * behaviour + p * g


def test_with_two_domains_it_is_both_units():
    model = small()
    for history in ([], [3], [3, 7, 1, 9, 2], [6, 8], [4, 6]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        queries = model.query_vectors(batch, BOTH)[0]
        for query, d in zip(queries, (1, 0), strict=True):
            np.testing.assert_allclose(query, literal(model, history, d), rtol=1e-3, atol=1e-4)


def test_in_training_knowledge_is_of_the_domain_of_each_target_alone(monkeypatch):
    """And says what it says when that domain is asked for; of all domains it would be as many."""
    model = small()
    items = np.array([[0, 0, 4, 6, 2, 9], [5, 7, 1, 9, 2, 8]], np.int32)
    embedded, embed_items = [], model.embedding.embed_items

    def watched(ids, of_batch=True):
        embedded.append(np.shape(ids))
        return embed_items(ids, of_batch=of_batch)

    monkeypatch.setattr(model.embedding, "embed_items", watched)
    (found,) = representations(model, items)
    nodes = [np.prod(shape) for shape in embedded if shape[:2] == (2, 6) and len(shape) > 2]
    assert nodes == [2 * 6 * 2] * 2
    for row, slot in np.ndindex(2, 6):
        target = items[row, slot]
        if target:
            history = np.concatenate([[0], items[row, :slot]])[None].astype(np.int32)
            asked = np.array([[domain_of(target, TWO)]], np.int32)
            expected = model.query_vectors(history, asked)[0, 0]
            np.testing.assert_allclose(found[row, slot], expected, rtol=1e-4, atol=1e-5)


def test_a_domain_alone_is_handed_nothing():
    """Neither weights of what comes from elsewhere nor its related items change anything."""
    model = small()
    batch, own = np.array([[0, 3, 1, 4]], np.int32), np.array([[0]], np.int32)
    mixed = np.array([[7, 3, 1, 4]], np.int32)
    before, other = (model.query_vectors(items, own).numpy() for items in (batch, mixed))
    for weight in (model.node_query, model.node_key, model.node_weight, model.node_value):
        values = weight.numpy()
        values[1] += 1.0  # across
        weight.assign(values)
    gate = model.gate.numpy()
    gate[1] += 1.0
    model.gate.assign(gate)
    kernel = model.outputs_kernel.numpy()
    kernel[:, 8:] += 1.0
    model.outputs_kernel.assign(kernel)
    related = RELATED.copy()
    related[6:] = related[1:5]
    related[:6, 1] = 0
    model.related.assign(related)
    np.testing.assert_array_equal(model.query_vectors(batch, own), before)
    assert np.abs(model.query_vectors(mixed, own) - other).max() > 1e-3


def test_related_items_of_the_latest_one_of_either_kind_are_known():
    model = small()
    items, own = np.array([[3, 7, 1, 8]], np.int32), np.array([[0]], np.int32)
    before = model.query_vectors(items, own).numpy()
    for item, matters in ((1, True), (8, True), (3, False), (7, False)):
        related = RELATED.copy()
        related[item, 0] = [5, 5]
        model.related.assign(related)
        change = np.abs(model.query_vectors(items, own) - before).max()
        assert (change > 1e-4) == matters and (matters or change == 0.0)


def test_across_is_the_latest_of_all_others():
    sizes = (5, 4, 3)
    related = np.random.default_rng(0).integers(1, 13, (13, 3, 2))
    model = small(sizes, related)
    items, own = np.array([[7, 10, 1]], np.int32), np.array([[0]], np.int32)
    before = model.query_vectors(items, own).numpy()
    for item, matters in ((10, True), (7, False)):
        other = related.copy()
        other[item, 0] = [2, 2]
        model.related.assign(other)
        assert (np.abs(model.query_vectors(items, own) - before).max() > 1e-5) == matters


def test_relations_are_kept_and_are_not_learned(tmp_path):
    model = small()
    assert model.related.path not in {weight.path for weight in model.learned}
    assert [ids.path for ids in model.item_lists] == [model.related.path]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.related, RELATED)
    assert "members" not in loaded.get_config() and loaded.get_config()["related"] == 2
