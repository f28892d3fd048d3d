"""The neural baselines: each is what its paper says, and all are trained and asked alike."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.literal import Literal
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.layers import split_views
from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.models.baselines.esasrec import ESASRec
from tf_syncrec.models.baselines.gru4rec import GRU4Rec
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.models.cross_domain.abxi import ABXI
from tf_syncrec.models.cross_domain.cgrec import CGRec
from tf_syncrec.models.cross_domain.mmoe import MMoE
from tf_syncrec.models.cross_domain.pi_net import PiNet

SEQUENTIAL = [SASRec, ESASRec, GRU4Rec, CGRec, ABXI, PiNet]
"""CGRec is an MMoE, but for the weights of its losses."""
OF_DOMAINS = (CGRec, ABXI, PiNet)
"""They answer otherwise for another domain."""

USERS = [f"user {i}".encode() for i in range(5)]
RAW = {"similarity": "dot", "temperature": 1.0}
"""Query vectors are the representations themselves."""


def make(kind, sizes=(5, 4, 3), seed=0, users=USERS, loss=None, **settings):
    """A tiny baseline whose every weight matters; keywords are settings of the model."""
    tiny: dict = {
        "window": 6,
        "dim": 8,
        "experts": 2,
        "cross_experts": 1,
        "blocks": 1,
        "dropout": 0.0,
    }
    tiny |= {"style": "pre_norm", "gate": "causal", "similarity": "cosine", "temperature": 0.5}
    losses = {"name": "sampled_softmax", "negatives": 3, "shared_negatives": True}
    config = Config.model_validate({"model": tiny | settings, "loss": losses | (loss or {})})
    keras.utils.set_random_seed(seed)
    model = kind.from_settings(config, sizes, **({"user_ids": users} if kind is BPRMF else {}))
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    if kind is CGRec:
        shares = rng.uniform(0.5, 1.5, len(sizes)).astype(np.float32)
        model.contribution.relative.assign(shares / shares.sum())
    return model


def batch_of(model, items):
    """What `train_step` gets."""
    return {"items": items} | (
        {"user_id": tf.constant(USERS[: len(items)])} if isinstance(model, BPRMF) else {}
    )


def asked(items, domain):
    """What `call` gets."""
    users = tf.constant((USERS * len(items))[: len(items)])
    return {
        "items": items,
        "domain": np.full(len(items), domain, np.int32),
        "user_id": users,
    }


def trained_on(model, items):
    """The representations that meet the targets in training: `[users, slots, dim]`, and domains."""
    _, view = split_views(items, None, model.offsets, model.window)
    met = []

    def target_losses(representations, targets, blocks):
        met.append(blocks.scatter(representations[0], tf.shape(view.domains)).numpy())
        return type(model).target_losses(model, representations, targets, blocks)

    model.target_losses = target_losses
    model.batch_losses(items)
    del model.target_losses
    (representations,) = met
    return representations, view.domains.numpy()


# -------------------------------------------------------------------------------- all of them


def planted(make_prepared):
    """Sequences along one cycle through all items; one domain is empty. Nothing is left to chance.

    Users are numbered, so that `USERS` are some of them.
    """
    prepared = make_prepared((6, 5, 0, 7), users=80)
    prepared.catalogue.repeats[:] = False
    rng = np.random.default_rng(1)
    cycle = 1 + rng.permutation(18).astype(np.int32)
    domains = prepared.catalogue.item_domains
    for user, row in enumerate(prepared.splits["train"]):
        walk = cycle[(rng.integers(18) + np.arange(rng.integers(5, 13))) % 18]
        row["items"] = walk[:-2]
        for split, end in (("validation", -2), ("test", -1)):
            prepared.splits[split][user] |= {
                "items": walk[:end],
                "target": walk[end],
                "domain": domains[walk[end] - 1],
            }
    return prepared


@pytest.mark.slow
@pytest.mark.parametrize("kind", [SASRec, GRU4Rec, BPRMF])  # MMoE: see test_cgrec.py
def test_learns_what_is_planted(kind, make_prepared):
    """Through the real pipeline, `fit` and the ranking, where shapes are not known beforehand."""
    prepared = planted(make_prepared)
    users = [row["user_id"] for row in prepared.splits["train"]]
    model = make(kind, (6, 5, 0, 7), users=users, dropout=0.1, temperature=0.1)
    model.compile(keras.optimizers.Adam(0.02))
    batches = train_batches(prepared, 6, 16, seed=0, layout=model.batch_layout).epoch(0)
    loss = model.fit(batches, epochs=25, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    assert loss[-1] < 0.5 * loss[0]
    ranks = rank_split(
        ModelScorer(model), evaluation_batches(prepared, "test", 64), prepared.catalogue
    )
    if kind is BPRMF:  # it knows who somebody is, and not where on the cycle
        assert np.mean(1 / ranks.ranks) > 0.6
    else:
        assert np.mean(ranks.ranks == 1) > 0.8


@pytest.mark.parametrize("kind", [*SEQUENTIAL, BPRMF])
def test_every_weight_learns_and_steps_lower_the_loss(kind, make_items, same_negatives):
    model = make(kind)
    items = make_items([7, 5, 4])
    with tf.GradientTape() as tape:
        before = model.batch_losses(**batch_of(model, items)).total
    weights = model.trainable_weights
    for weight, gradient in zip(weights, tape.gradient(before, weights), strict=True):
        assert gradient is not None, f"{weight.path} is never read"
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-6, weight.path
    model.compile(keras.optimizers.SGD(0.05))
    for _ in range(2):
        shown = model.train_step(batch_of(model, items))
    np.testing.assert_allclose(shown["loss"], model.trackers["loss"].result())
    assert model.batch_losses(**batch_of(model, items)).total < 0.98 * before


@pytest.mark.parametrize("kind", [*SEQUENTIAL, BPRMF])
def test_left_padding_changes_nothing(kind, make_items, same_negatives):
    model = make(kind)
    for lengths in ([3, 1], [7, 9]):
        items = make_items(lengths)
        padded = np.pad(items, [[0, 0], [4, 0]])
        losses = [model.batch_losses(**batch_of(model, x)).total for x in (items, padded)]
        assert losses[0] > 0.1
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
        np.testing.assert_allclose(
            model(asked(padded, 1)), model(asked(items, 1)), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_users_do_not_see_each_other(kind, make_items, same_negatives):
    model = make(kind)
    items = make_items([7, 4, 1, 6])
    order = [2, 0, 3, 1]
    queries = model(asked(items, 2)).numpy()
    np.testing.assert_allclose(model(asked(items[order], 2)), queries[order], atol=1e-5)
    np.testing.assert_allclose(model(asked(items[1:2], 2)), queries[1:2], atol=1e-5)
    assert np.abs(queries - queries[order]).max(axis=1).min() > 0.01
    np.testing.assert_allclose(
        model.batch_losses(items[order]).total, model.batch_losses(items).total, rtol=1e-5
    )


@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_nothing_later_than_the_target_is_seen(kind, make_items):
    model = make(kind)
    items = make_items([6, 6])
    before, _ = trained_on(model, items)
    for t in (0, 3, 5):
        # Another item of the same domain: towers stay the same.
        other = items.copy()
        for row in other:
            row[t] = next(
                x for first, end in ((1, 6), (6, 10), (10, 13)) if first <= row[t] < end
                for x in range(first, end) if x != row[t]
            )  # fmt: skip
        after, _ = trained_on(model, other)
        np.testing.assert_allclose(after[:, : t + 1], before[:, : t + 1], atol=1e-6)
        if t < 5:
            assert np.abs(after[:, t + 1 :] - before[:, t + 1 :]).max(axis=2).min() > 1e-4


@pytest.mark.parametrize("kind", SEQUENTIAL)
@pytest.mark.parametrize("length", [1, 7, 10])
def test_prediction_asks_what_training_taught(kind, length, make_items):
    """The query for the domain of an item is the representation that the item was a target of."""
    model = make(kind, **RAW)
    items = make_items([length] * 6, seed=length)
    representations, domains = trained_on(model, items)
    query = model({"items": items[:, :-1], "domain": domains[:, -1]})
    np.testing.assert_allclose(query, representations[:, -1], rtol=1e-5, atol=1e-5)


def test_gru4rec_asks_it_anywhere(make_items):
    """Positions play no part, so that every slot is taught what a history of its length asks."""
    model = make(GRU4Rec, **RAW, blocks=2)
    items = make_items([6] * 3)
    representations, domains = trained_on(model, items)
    for t in (0, 1, 4):
        query = model({"items": items[:, :t], "domain": domains[:, t]})
        np.testing.assert_allclose(query, representations[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SEQUENTIAL)
def test_domains_asked_together_or_apart_get_the_same_answer(kind, make_items):
    model = make(kind)
    items = make_items([9, 3, 0, 5])
    together = model.query_vectors(items, np.array([[2, 0, 1]] * 4, np.int32)).numpy()
    for q, domain in enumerate((2, 0, 1)):
        np.testing.assert_allclose(model(asked(items, domain)), together[:, q], atol=1e-5)
    differ = np.abs(together[:, 0] - together[:, 1]).max(axis=1).min() > 0.01
    assert differ == (kind in OF_DOMAINS), "something of each domain's own, or nothing"


@pytest.mark.parametrize("kind", [*SEQUENTIAL, BPRMF])
def test_dropout_is_off_in_prediction(kind, make_items, same_negatives):
    model = make(kind, dropout=0.5, blocks=2)
    items = make_items([7, 5, 4])
    np.testing.assert_array_equal(model(asked(items, 0)), model(asked(items, 0)))

    def loss(training):
        return float(model.batch_losses(**batch_of(model, items), training=training).total)

    without = make(kind, dropout=0.0, blocks=2)
    for weight, same in zip(model.weights, without.weights, strict=True):
        same.assign(weight)
    assert loss(False) == loss(False)
    expected = without.batch_losses(**batch_of(without, items)).total
    np.testing.assert_allclose(loss(False), expected, rtol=1e-6)
    assert loss(True) != loss(True)


@pytest.mark.parametrize(
    ("kind", "compiled"), [(SASRec, False), (GRU4Rec, True), (CGRec, True), (BPRMF, False)]
)
def test_scores_survive_saving(kind, compiled, make_items, tmp_path):
    model, other = make(kind), make(kind, seed=1)
    items = make_items([7, 5, 4])
    for each in (model, other)[: 1 + compiled]:
        each.compile(keras.optimizers.Adam(0.01))
    model.train_step(batch_of(model, items))
    model.save_weights(tmp_path / "model.weights.h5")
    assert np.abs(other(asked(items, 1)) - model(asked(items, 1))).max() > 0.01
    other.load_weights(tmp_path / "model.weights.h5")
    for a, b in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    np.testing.assert_array_equal(other(asked(items, 1)), model(asked(items, 1)))
    np.testing.assert_array_equal(
        other.candidate_vectors(np.arange(other.num_items + 1)),
        model.candidate_vectors(np.arange(model.num_items + 1)),
    )


@pytest.mark.parametrize(
    ("kind", "shared"),
    [(SASRec, True), (SASRec, False), (GRU4Rec, True), (CGRec, True), (BPRMF, False)],
)
def test_domains_without_items_or_targets_do_no_harm(kind, shared, make_items):
    sizes = (5, 0, 1, 4)
    model = make(kind, sizes, loss={"shared_negatives": shared})
    batches = [
        make_items([5, 3], sizes),
        make_items([4, 2], sizes, domains=[[3], [3]]),
        make_items([3], sizes, domains=[[2]]),  # its only item has no negative
        np.zeros([2, 3], np.int32),
    ]
    for items in batches:
        with tf.GradientTape() as tape:
            loss = model.batch_losses(**batch_of(model, items)).total
        assert np.isfinite(loss) and (loss > 0) == (items.max() > 6 or items.min() == 5)
        for weight, gradient in zip(
            model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True
        ):
            assert gradient is None or np.isfinite(tf.convert_to_tensor(gradient)).all(), weight


# ------------------------------------------------------------------------------- what each is


def negatives(sizes):
    """What `same_negatives` draws, as `Literal` wants it."""
    return lambda d: [1 + sum(sizes[:d]) + i % sizes[d] for i in range(3)]


def literal_loss(model, items, represent, experts=None):
    """The mean loss of all targets, one user and one item after another."""
    parts = ("domain_sizes", "embedding", "similarity")
    options = {"experts": 1, "cross_experts": 1, "gate": "causal", "asymmetric": True}
    options |= model.get_config()
    mixture = SimpleNamespace(cross_experts=experts)
    literal = Literal(
        SimpleNamespace(
            get_config=lambda: options,
            acmoe=mixture,
            **{part: getattr(model, part) for part in parts},
        )
    )
    literal.num_cross_experts = literal.num_experts  # all are in one layer
    drawn = negatives(model.domain_sizes)
    losses = []
    for row in items:
        (inputs, targets, _), _ = literal.training_sequences(row)
        for t, target in enumerate(targets):
            d = literal.domain(target)
            y = represent(literal, inputs[: t + 1], len(inputs), d)
            losses.append(literal.item_loss(y, target, drawn(d)))
    return tf.add_n(losses) / len(losses)


def rows_of(literal, inputs, length):
    """Embedded inputs as the first of `length`, padded on the left to the window."""
    rows = literal.embed(inputs + ["SOS"] * (length - len(inputs)), start_token=0)
    return rows[: len(rows) - (length - len(inputs))]


def sasrec(literal, inputs, length, d):
    return literal.expert(0, rows_of(literal, inputs, length))[-1]


def mmoe(model):
    dim, experts = model.dim, model.experts.num_experts

    def represent(literal, inputs, length, d):
        rows = rows_of(literal, inputs, length)
        gates = SimpleNamespace(
            kernel=tf.reshape(model.gates.kernel, [dim, -1]), bias=tf.reshape(model.gates.bias, -1)
        )
        mixed = literal.mixture(rows, literal.gate(gates, d, rows), learning=range(experts))
        return literal.tower(model.tower, d, mixed)[-1]

    return represent


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (SASRec, {"style": "pre_norm", "heads": 2, "blocks": 2}),
        (SASRec, {"style": "paper", "loss": {"name": "bce", "shared_negatives": False}} | RAW),
        (MMoE, {"loss": {"name": "bpr"}, "experts": 3}),
    ],
    ids=["sasrec-pre_norm-softmax", "sasrec-paper-bce", "mmoe-bpr"],
)
def test_losses_and_gradients_are_those_of_a_loop(kind, settings, make_items, same_negatives):
    model = make(kind, **settings, window=4)
    items = make_items([6, 2], domains=[[0, 1, 2], [2]], seed=4)
    with tf.GradientTape() as tape:
        received = model.batch_losses(items).total
    received_gradients = tape.gradient(received, model.trainable_weights)
    with tf.GradientTape() as tape:
        if kind is SASRec:
            expected = literal_loss(model, items, sasrec, model.encoder)
        else:
            expected = literal_loss(model, items, mmoe(model), model.experts)
    expected_gradients = tape.gradient(expected, model.trainable_weights)
    np.testing.assert_allclose(received, expected, rtol=1e-5)
    for weight, a, b in zip(
        model.trainable_weights, expected_gradients, received_gradients, strict=True
    ):
        a, b = (np.zeros(weight.shape) if g is None else tf.convert_to_tensor(g) for g in (a, b))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5, err_msg=weight.path)


def test_sasrec_is_embedding_and_one_transformer_and_nothing_else():
    model = make(SASRec, experts=4)
    assert model.encoder.num_experts == 1
    expected = model.embedding.count_params() + model.encoder.count_params()
    assert model.count_trained() == expected


def test_gru4rec_is_the_recurrence_of_its_paper(make_items, same_negatives):
    """Cho et al. (2014), with the reset gate behind the product, as Keras and cuDNN have it."""
    model = make(GRU4Rec, loss={"name": "bpr"})
    (layer,) = model.recurrent
    kernel, recurrent, (bias, recurrent_bias) = (w.numpy() for w in layer.weights)
    items_table, start = model.embedding.items.numpy(), model.embedding.start_tokens.numpy()[0]
    constant = model.embedding.positions.numpy()[0]

    def represent(literal, inputs, length, d):
        h = np.zeros(8, np.float32)
        for token in inputs:
            x = (start if token == "SOS" else items_table[token]) + constant
            x = (x - x.mean()) / np.sqrt(x.var() + 1e-6)
            a, b = x @ kernel + bias, h @ recurrent + recurrent_bias
            z, r = (1 / (1 + np.exp(-(a[part] + b[part]))) for part in (slice(8), slice(8, 16)))
            h = z * h + (1 - z) * np.tanh(a[16:] + r * b[16:])
        return tf.constant(h)

    items = make_items([7, 3, 1])
    expected = literal_loss(model, items, represent)
    np.testing.assert_allclose(model.batch_losses(items).total, expected, rtol=1e-5)


# -------------------------------------------------------------------------------------- BPRMF


def test_bprmf_knows_its_users_by_name(make_items):
    model = make(BPRMF, **RAW)
    table = model.users.embeddings.numpy()
    assert len(table) == len(USERS) + 1
    items = make_items([4, 3, 5])
    batch = asked(items, 0) | {"user_id": tf.constant([USERS[3], b"somebody new", USERS[0]])}
    np.testing.assert_array_equal(model(batch), table[[3, 5, 0]])
    np.testing.assert_array_equal(model(batch | {"items": items[::-1]}), table[[3, 5, 0]])


def test_bprmf_is_matrix_factorisation(make_items, same_negatives):
    """-log σ(u·i - u·j), for every item i of the user, in any order."""
    model = make(BPRMF, **RAW, loss={"name": "bpr"})
    items = make_items([4, 2, 3])
    users, table = model.users.embeddings.numpy(), model.embedding.items.numpy()
    drawn, terms = negatives((5, 4, 3)), []
    for user, row in zip((2, 0, 4), items, strict=True):
        for item in row[row > 0]:
            d = int(np.searchsorted([1, 6, 10], item, "right")) - 1
            others = [users[user] @ (table[item] - table[j]) for j in drawn(d) if j != item]
            terms.append(np.mean(np.log1p(np.exp(-np.array(others)))))
    batch = {"user_id": tf.constant([USERS[2], USERS[0], USERS[4]])}
    with tf.GradientTape() as tape:
        loss = model.batch_losses(items, **batch).total
    np.testing.assert_allclose(loss, np.mean(terms), rtol=1e-5)
    shuffled = np.random.default_rng(0).permuted(items, axis=1)
    assert (shuffled != items).any()
    np.testing.assert_allclose(model.batch_losses(shuffled, **batch).total, loss, rtol=1e-6)
    gradient = tf.convert_to_tensor(tape.gradient(loss, model.users.embeddings.value)).numpy()
    assert np.flatnonzero(np.abs(gradient).max(axis=1)).tolist() == [0, 2, 4]
