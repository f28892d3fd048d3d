"""The whole model is the paper's equations, and nothing but them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_syncrec.losses.negatives as negatives
import tf_syncrec.models.syncrec as module
from tests.support.gradients import assert_same_gradients
from tests.support.literal import Literal

PAPER_LOSS = {"name": "bpr_sigmoid", "shared_negatives": False, "similarity": "dot"} | {
    "temperature": 1.0,
    "gap": "sum",
    "scaled": False,
    "reduction": "sum",
    "contrast": "others",
}
MODERN_LOSS = {"name": "sampled_softmax", "shared_negatives": True, "rho": "bilinear"}
VARIANTS = {
    f"{style}-{gate}-{loss['name']}": {
        "style": style,
        "gate": gate,
        "heads": heads,
        "blocks": heads,
        **loss,
    }
    for style, heads in (("paper", 1), ("pre_norm", 2))
    for gate in ("sequence", "causal")
    for loss in (PAPER_LOSS, MODERN_LOSS)
} | {
    "symmetric-bce": {"asymmetric": False, "name": "bce", "negatives": 5, "delta": 0.5},
    "clamped": {"clamp": True, "standardise": True, "name": "sampled_softmax", "delta": 0.2},
    "uncorrected-bpr": {"enabled": False, "name": "bpr", "mutual_information": False},
}


@pytest.fixture
def drawn(monkeypatch):
    """What the model drew last, as `(user, slot, domain) -> ids`; slots count from a first target.

    Blocks are made small, so that a domain has several and some are partly filled.
    """
    record: dict = {}

    def sample(*args):
        record["ids"] = real_sample(*args)
        return record["ids"]

    def group(domains, num_domains):
        record["domains"] = domains.numpy()
        record["blocks"] = real_group(domains, num_domains, block_size=4)
        return record["blocks"]

    real_sample, real_group = negatives.sample_in_domain, module.group_by_domain
    monkeypatch.setattr(negatives, "sample_in_domain", sample)
    monkeypatch.setattr(module, "group_by_domain", group)

    def lookup(user, slot, domain):
        ids, domains = record["ids"].numpy(), record["domains"]
        if ids.ndim == 2:  # shared by all targets of the domain
            return ids[domain]
        slot += np.sum(domains[user] < 0)
        cells = (record["blocks"].slots == user * domains.shape[1] + slot) & record["blocks"].mask
        (cell,) = np.argwhere(cells)
        return ids[tuple(cell)]

    return lookup


def test_eta_shares_the_loss_out(make_model, make_items):
    """Eq. 18, where no domain is corrected."""
    losses = make_model(eta=0.7, enabled=False).batch_losses(make_items([6, 5, 4]))
    expected = 0.7 * (losses.single + losses.cross) + 0.3 * losses.mutual_information
    np.testing.assert_allclose(losses.total, expected, rtol=1e-5)
    assert losses.mutual_information > 0.1


OFTEN = (
    "paper-sequence-log_sigmoid",
    "pre_norm-causal-sampled_softmax",
    "symmetric-bce",
    "clamped",
)
"""What is published and what is the default, and two that have something of their own."""


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(each, id=name, marks=[] if name in OFTEN else pytest.mark.slow)
        for name, each in VARIANTS.items()
    ],
)
def test_losses_and_gradients_are_those_of_the_equations(settings, make_model, make_items, drawn):
    model = make_model(**settings, window=4)
    items = make_items([6, 3, 1], domains=[[0, 1, 2], [0, 2], [2]], seed=4)
    with tf.GradientTape() as tape:
        received = model.batch_losses(items)
    received_gradients = tape.gradient(received.total, model.trainable_weights)
    with tf.GradientTape() as tape:
        expected = Literal(model).batch(items, drawn)
    expected_gradients = tape.gradient(expected["total"], model.trainable_weights)

    for name in received._fields:
        np.testing.assert_allclose(
            getattr(received, name), expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )
    assert_same_gradients(model, expected_gradients, received_gradients)


@pytest.mark.parametrize("style", ["paper", "pre_norm"])
@pytest.mark.parametrize("gate", ["sequence", "causal"])
def test_scores_are_those_of_the_equations(style, gate, make_model, make_items):
    similarity = "dot" if style == "paper" else "cosine"
    items = make_items([6, 3, 2], domains=[[0, 1, 2], [0, 1, 2], [1]])
    items = np.concatenate([items, np.zeros((1, 6), np.int32)])  # somebody new
    asked = np.tile(np.array([0, 1, 2], np.int32), (4, 1))
    checked = [(0, 0), (0, 2), (1, 1), (2, 0), (3, 1)]
    settings = {"style": style, "gate": gate, "similarity": similarity, "blocks": 1, "window": 4}
    blending = make_model(**settings, score="blend")
    np.testing.assert_array_equal(blending.view_weights.single, 1.0)  # until they are fitted
    weights = np.array([0.5, 1.25, 2.0], np.float32)
    blending.view_weights.single.assign(weights)
    literal = Literal(blending)
    expected = [literal.scores(items[user], d) for user, d in checked]
    for score in ("cross", "single", "sum", "blend"):
        model = make_model(**settings, score=score)
        if score == "blend":
            model.view_weights.single.assign(weights)
        queries, candidates = (
            model.query_vectors(items, asked),
            model.candidate_vectors(np.arange(model.num_items + 1)),
        )
        for (user, d), scores in zip(checked, expected, strict=True):
            first = 1 + sum(model.domain_sizes[:d])
            own = candidates[first : first + model.domain_sizes[d]]
            received = tf.linalg.matvec(own, queries[user, d])
            np.testing.assert_allclose(received, scores[score], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gate", ["sequence", "causal"])
@pytest.mark.parametrize("length", [1, 6, 7, 10])
def test_prediction_asks_what_training_taught(
    gate, length, make_model, make_items, representations
):
    """The query for the domain of an item is the representation that the item was a target of."""
    items = make_items([length] * 6, seed=length)
    for score, part in (("cross", 0), ("single", 1)):
        model = make_model(score=score, gate=gate, similarity="dot", temperature=1.0)
        outputs = representations(model, items)
        query = model({"items": items[:, :-1], "domain": outputs[2][:, -1]})
        np.testing.assert_allclose(query, outputs[part][:, -1], rtol=1e-5, atol=1e-5)


def test_left_padding_changes_nothing(make_model, make_items, representations, same_negatives):
    model = make_model()
    for lengths in ([3, 5, 1], [7, 2, 9]):
        items = make_items(lengths)
        padded = np.pad(items, [[0, 0], [4, 0]])
        for y, with_padding in zip(
            representations(model, items), representations(model, padded), strict=True
        ):
            slots = y.shape[1]
            np.testing.assert_allclose(with_padding[:, -slots:], y, atol=1e-5)
        for a, b in zip(model.batch_losses(items), model.batch_losses(padded), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
        asked = np.tile([2, 0], (3, 1)).astype(np.int32)
        np.testing.assert_allclose(
            model.query_vectors(padded, asked), model.query_vectors(items, asked), atol=1e-5
        )


def test_padding_rows_of_the_table_and_of_others_are_never_read(make_model, make_items):
    model = make_model()
    items = make_items([3, 6])
    asked = np.array([[0, 1, 2]] * 2, np.int32)
    before = model.query_vectors(items, asked)
    table = model.embedding.items.numpy()
    table[0] = 1e3
    model.embedding.items.assign(table)
    np.testing.assert_array_equal(model.query_vectors(items, asked), before)


@pytest.mark.parametrize("gate", ["sequence", "causal"])
def test_users_do_not_see_each_other(gate, make_model, make_items, representations, same_negatives):
    model = make_model(gate=gate)
    items = make_items([7, 4, 1, 6])
    outputs = representations(model, items)
    order = [2, 0, 3, 1]
    for y, shuffled in zip(outputs, representations(model, items[order]), strict=True):
        np.testing.assert_allclose(shuffled, y.numpy()[order], atol=1e-5)
    for user in range(4):
        for y, alone in zip(outputs, representations(model, items[user : user + 1]), strict=True):
            np.testing.assert_allclose(alone[0], y[user], atol=1e-5)
    np.testing.assert_allclose(
        model.batch_losses(items[order]).total, model.batch_losses(items).total, rtol=1e-5
    )


@pytest.mark.parametrize("score", ["cross", "single", "sum", "blend"])
@pytest.mark.parametrize("gate", [pytest.param("sequence", marks=pytest.mark.slow), "causal"])
def test_domains_asked_together_or_apart_get_the_same_answer(score, gate, make_model, make_items):
    sizes = (5, 4, 3, 6)
    model = make_model(sizes, score=score, gate=gate)
    items = make_items([9, 6, 3, 0, 5], sizes)
    asked = np.array([[3, 0, 1, 2]] * 5, np.int32)
    together = model.query_vectors(items, asked)
    for q in range(4):
        apart = model.query_vectors(items, asked[:, q : q + 1])
        np.testing.assert_allclose(together[:, q], apart[:, 0], atol=1e-5)
        np.testing.assert_array_equal(model({"items": items, "domain": asked[:, q]}), apart[:, 0])


def test_single_view_answers_from_its_own_domain_only(make_model, make_items):
    model = make_model(score="single", similarity="dot")
    items = make_items([5, 4, 5], seed=1)
    ids = np.array([[0]] * 3, np.int32)
    others = items > 5
    answer = model.query_vectors(items, ids)
    changed = items + others * (items == 6) - others * (items > 6)
    changed = changed.astype(np.int32)
    assert (changed != items).any()
    np.testing.assert_array_equal(model.query_vectors(changed, ids), answer)
    for user in range(3):  # as if the other domains did not exist
        alone = items[user][(items[user] > 0) & (items[user] <= 5)][None]
        np.testing.assert_allclose(model.query_vectors(alone, ids[:1])[0], answer[user], atol=1e-5)


@pytest.mark.parametrize("score", ["cross", "single", "sum", "blend"])
def test_only_the_last_window_of_a_history_counts(score, make_model, make_items):
    model = make_model(score=score)
    items = make_items([12, 12])
    asked = np.array([[0, 1, 2]] * 2, np.int32)
    answer = model.query_vectors(items, asked)
    np.testing.assert_allclose(model.query_vectors(items[:, -6:], asked), answer, atol=1e-5)
    shorter = model.query_vectors(items[:, -5:], asked)
    assert np.abs(shorter - answer).max() > 1e-4


def test_query_and_candidate_vectors_are_ready_to_be_multiplied(make_model, make_items):
    model = make_model(similarity="cosine", temperature=0.1, score="cross")
    queries = model.query_vectors(make_items([4]), np.array([[1]], np.int32))
    np.testing.assert_allclose(np.linalg.norm(queries, axis=-1), 10.0, rtol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(model.candidate_vectors(np.arange(model.num_items + 1)), axis=-1),
        1.0,
        rtol=1e-5,
    )
    assert model.candidate_vectors(np.arange(model.num_items + 1)).shape == (13, 8)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("sizes", [(0, 5, 4), (5, 0, 4), (5, 4, 0)])
def test_a_domain_without_trained_items_is_harmless(sizes, shared, make_model, make_items):
    model = make_model(sizes, shared_negatives=shared)
    losses = model.batch_losses(make_items([5, 3], sizes))
    empty = sizes.index(0)
    assert np.isfinite(losses.total)
    assert losses.domain_targets[empty] == 0
    assert losses.relative[empty] == model.negative_transfer.relative[empty]


@pytest.mark.parametrize("shape", [(0, 4), (2, 4)])
def test_a_batch_without_targets_teaches_nothing(shape, make_model):
    """A replica gets one when the last batch has fewer users than there are replicas."""
    model = make_model()
    with tf.GradientTape() as tape:
        losses = model.batch_losses(np.zeros(shape, np.int32))
    assert losses.total == 0
    for gradient in tape.gradient(losses.total, model.trainable_weights):
        assert gradient is None or not np.any(tf.convert_to_tensor(gradient))


def test_training_lowers_the_loss_and_counts_what_it_saw(make_model, make_items, same_negatives):
    model = make_model(redraw=False, experts=2, cross_experts=1)
    model.compile(keras.optimizers.Adam(3e-2))
    items = make_items([7, 5, 4, 2])
    before = model.batch_losses(items)
    for _ in range(10):
        means = model.train_step({"items": items})
    after = model.batch_losses(items)
    assert after.single < before.single
    assert after.cross < before.cross
    assert after.total < means["loss"] < before.total
    sums = model.domain_tracker.sums.numpy()
    np.testing.assert_allclose(sums[2], 10 * before.domain_targets.numpy())
    np.testing.assert_allclose(
        sums[:2].sum(axis=1) / sums[2].sum(),
        [means["loss_single"], means["loss_cross"]],
        rtol=1e-4,
    )


def test_dropout_is_off_in_prediction_and_on_in_training(make_model, make_items, same_negatives):
    model = make_model(dropout=0.5)
    items = make_items([6, 4])
    asked = np.array([[0, 1, 2]] * 2, np.int32)
    np.testing.assert_array_equal(
        model.query_vectors(items, asked), model.query_vectors(items, asked)
    )
    quiet = [model.batch_losses(items, training=False).total for _ in range(2)]
    noisy = [model.batch_losses(items, training=True).total for _ in range(2)]
    assert quiet[0] == quiet[1]
    assert noisy[0] != noisy[1]
