"""CGRec: the game among domains, and how its values become weights of the losses."""

import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.processes import TWO_REPLICAS, last_line
from tf_syncrec.config import Config
from tf_syncrec.data.batches import evaluation_batches, train_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.models.cross_domain import cgrec
from tf_syncrec.models.cross_domain.cgrec import CGRec, coalitions
from tf_syncrec.models.cross_domain.mmoe import MMoE


def make(sizes=(5, 4, 3), **settings):
    """A tiny model whose every weight matters; keywords are settings of the model."""
    tiny: dict = {
        "window": 6,
        "dim": 8,
        "experts": 2,
        "cross_experts": 1,
        "blocks": 1,
        "dropout": 0.0,
    }
    tiny |= {"similarity": "cosine", "temperature": 0.5}
    config = Config.model_validate({"model": tiny | settings, "loss": {"negatives": 3}})
    keras.utils.set_random_seed(0)
    model = CGRec.from_settings(config, sizes)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
    return model


# ------------------------------------------------------------------------------ Shapley values


def random_game(n, seed):
    """A value for every coalition, as a function of its members, `[coalitions, n]` bool."""
    values = np.random.default_rng(seed).normal(size=2**n)
    return lambda members: values[members @ (1 << np.arange(n))]


def shapley(n, game, seed=0):
    members, weights = coalitions(n, seed)
    return weights.astype(np.float64) @ game(members)


def literal_shapley(n, game):
    """What each player adds when it arrives, averaged over all orders of arrival."""
    added = np.zeros(n)
    for order in itertools.permutations(range(n)):
        members = np.zeros(n, bool)
        for player in order:
            before = game(members)
            members[player] = True
            added[player] += game(members) - before
    return added / math.factorial(n)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_values_are_means_over_all_orders_of_arrival(n):
    game = random_game(n, seed=n)
    members, weights = coalitions(n)
    assert members.shape == (2**n, n) and members.dtype == bool and weights.dtype == np.float32
    assert len(np.unique(members, axis=0)) == 2**n
    np.testing.assert_allclose(shapley(n, game), literal_shapley(n, game), atol=1e-6)


@pytest.mark.parametrize("n", [2, 5, 6, 7, 12])
def test_axioms(n):
    """Efficiency, additivity and the dummy hold for sampled orders too; symmetry on average."""
    one, two = random_game(n, 0), random_game(n, 1)
    everybody, nobody = np.ones(n, bool), np.zeros(n, bool)
    values = shapley(n, one)
    np.testing.assert_allclose(values.sum(), one(everybody) - one(nobody), atol=1e-5)
    both = shapley(n, lambda members: one(members) + 3 * two(members))
    np.testing.assert_allclose(both, values + 3 * shapley(n, two), atol=1e-5)

    def without_last(members):  # the last player adds 0.5 whoever is there
        others = np.where(np.arange(n) == n - 1, False, members)
        return one(others) + 0.5 * members[..., n - 1]

    np.testing.assert_allclose(shapley(n, without_last)[-1], 0.5, atol=1e-6)
    if n <= cgrec.EXACT_UP_TO:

        def symmetric(members):  # swapping the first two changes nothing
            swapped = members[..., [1, 0, *range(2, n)]]
            return one(members) + one(swapped)

        values = shapley(n, symmetric)
        np.testing.assert_allclose(values[0], values[1], atol=1e-6)


def test_sampled_orders_approach_the_exact_value(monkeypatch):
    game = random_game(7, seed=3)
    members, _ = coalitions(7)
    assert members.shape == (8 * cgrec.PERMUTATIONS, 7)
    few = [shapley(7, game, seed) for seed in range(200)]
    assert np.ptp(few, axis=0).min() > 0.1, "a seed is an order"
    monkeypatch.setattr(cgrec, "EXACT_UP_TO", 7)
    exact = shapley(7, game)
    np.testing.assert_allclose(np.mean(few, axis=0), exact, atol=0.1)
    monkeypatch.setattr(cgrec, "EXACT_UP_TO", 6)
    monkeypatch.setattr(cgrec, "PERMUTATIONS", 8 * 64)
    error = np.abs(shapley(7, game) - exact).mean()
    assert error < 0.3 * np.mean(np.abs(np.array(few) - exact))


# ------------------------------------------------------------------------------------ the game


def row_of(model, *domains):
    """Which row of `coalition_values` the coalition is."""
    wanted = np.isin(np.arange(model.num_domains), domains)
    return int(np.flatnonzero((model._members == wanted).all(axis=1))[0])


def moved(items, domain, offsets, sizes):
    """Every item of a domain replaced by the next of that domain."""
    first, size = offsets[domain], sizes[domain]
    return np.where(
        (items >= first) & (items < first + size), first + (items - first + 1) % size, items
    )


@pytest.fixture
def played(monkeypatch):
    """`played(model, items)`: values, and the representations `[coalitions, users, slots, dim]`."""

    def run(model, items):
        met = []

        def target_losses(representations, targets, blocks):
            met.append(blocks.scatter(representations[0], items.shape).numpy())
            return CGRec.target_losses(model, representations, targets, blocks)

        model.target_losses = target_losses
        values, present = model.coalition_values(items)
        del model.target_losses
        return values.numpy(), present.numpy(), np.array(met)

    return run


def test_a_coalition_sees_the_items_of_its_domains_only(make_items, played):
    model = make()
    items = make_items([6, 4])
    _, present, before = played(model, items)
    assert present.all() and len(before) == 8
    for domain in range(3):
        _, _, after = played(model, moved(items, domain, (1, 6, 10), model.domain_sizes))
        change = np.abs(after - before).max(axis=(1, 2, 3))
        for members, coalition_change in zip(model._members, change, strict=True):
            if members[domain]:
                assert coalition_change > 1e-3
            else:
                assert coalition_change == 0.0


def test_everybody_together_is_the_model_itself(make_items, same_negatives):
    model = make(dropout=0.3)
    items = make_items([7, 5, 4])
    values, _ = model.coalition_values(items)
    loss = MMoE.batch_losses(model, items, training=False).total
    np.testing.assert_allclose(values[row_of(model, 0, 1, 2)], -loss, rtol=1e-5)
    assert np.ptp(values) > 0.05


def test_who_sees_no_item_knows_how_many_there_were_and_no_more(make_items, played):
    """All users of one length and one domain look the same to a coalition without the domain."""
    model = make()
    items = make_items([6] * 4, domains=[[0]] * 4)
    _, _, representations = played(model, items)
    for members, y in zip(model._members, representations, strict=True):
        differ = np.abs(y - y[:1]).max(axis=(1, 2))[1:]
        np.testing.assert_array_equal(differ > 1e-4, [members[0]] * 3)
        assert members[0] or not differ.any()


def test_domains_that_are_not_there_add_nothing(make_items):
    """Exactly nothing, for all coalitions meet the same negatives, in a graph too."""
    model = make((5, 4, 3, 0))
    items = make_items([6, 3], (5, 4, 3, 0), domains=[[0, 2], [2]])
    values, present = tf.function(model.coalition_values)(tf.constant(items))
    assert present.numpy().tolist() == [True, False, True, False]
    shapley = model._shapley @ values.numpy()
    for kept in itertools.chain([()], [(0,)], [(2,)], [(0, 2)]):
        rows = [row_of(model, *kept, *guests) for guests in ((), (1,), (3,), (1, 3))]
        assert len(set(values.numpy()[rows].tolist())) == 1
    np.testing.assert_allclose(shapley[[1, 3]], 0, atol=1e-6)
    assert np.abs(shapley[[0, 2]]).min() > 1e-3


# --------------------------------------------------------------------------------- the weights


def test_weights_scale_the_losses_of_domains(make_items, same_negatives):
    items = make_items([7, 5, 4])
    model = make()
    np.testing.assert_allclose(
        model.batch_losses(items).total, MMoE.batch_losses(model, items).total, rtol=1e-6
    )
    by_domain = []
    for domain in range(3):
        model.contribution.relative.assign(np.eye(3, dtype=np.float32)[domain])
        by_domain.append(model.batch_losses(items).total / 3)
    model.contribution.relative.assign([0.5, 0.2, 0.3])
    expected = 3 * np.dot([0.5, 0.2, 0.3], by_domain)
    np.testing.assert_allclose(model.batch_losses(items).total, expected, rtol=1e-5)
    np.testing.assert_allclose(sum(by_domain), MMoE.batch_losses(model, items).total, rtol=1e-5)


def test_a_game_moves_the_weights_towards_who_contributes(make_items, same_negatives, monkeypatch):
    monkeypatch.setattr(cgrec, "PLAYERS", 2)
    model = make()
    model.compile(keras.optimizers.SGD(0.0))  # the game is played on what the step left
    items = make_items([6, 4, 5], domains=[[0, 1], [0, 1], [2]])
    values, _ = model.coalition_values(items[:2])
    shapley = model._shapley @ values.numpy()
    model.train_step({"items": items})
    share = np.exp(1 / 3 + shapley[:2])
    expected = [*(2 / 3 * share / share.sum()), 1 / 3]  # nobody of the third domain played
    np.testing.assert_allclose(model.contribution.relative, expected, rtol=1e-5)
    np.testing.assert_allclose(model.contribution.gap, [*shapley[:2], 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.epoch_domains()["lambda"], model.contribution.relative)


@pytest.mark.slow
def test_fit_plays_now_and_then_and_learns(make_prepared, monkeypatch):
    """Through the real pipeline and `fit`, where shapes are not known beforehand."""
    monkeypatch.setattr(cgrec, "INTERVAL", 7)
    sizes = (6, 5, 0, 7)
    prepared = make_prepared(sizes, users=80)
    rng = np.random.default_rng(1)
    cycle = 1 + rng.permutation(18).astype(np.int32)
    for user, row in enumerate(prepared.splits["train"]):  # a walk along one cycle of all items
        walk = cycle[(rng.integers(18) + np.arange(rng.integers(4, 12))) % 18]
        row["items"] = walk[:-1]
        prepared.splits["test"][user] |= {
            "items": walk[:-1],
            "target": walk[-1],
            "domain": prepared.catalogue.item_domains[walk[-1] - 1],
        }
    model = make(sizes, dropout=0.1, temperature=0.1)
    weights = [model.contribution.relative.numpy()]
    model.compile(keras.optimizers.Adam(0.02))
    batches = train_batches(prepared, 6, 16, seed=0).epoch(0)
    history = model.fit(
        batches,
        epochs=20,
        shuffle=False,
        verbose=0,
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: weights.append(
                    model.contribution.relative.numpy()
                )
            )
        ],
    ).history["loss"]
    np.testing.assert_allclose(np.sum(weights, axis=1), 1, rtol=1e-5)
    changed = np.flatnonzero(np.abs(np.diff(weights, axis=0)).max(axis=1))
    np.testing.assert_array_equal(changed, np.arange(0, len(weights) - 1, 7))
    assert np.ptp(weights[-1]) > 0.01
    assert weights[-1][2] == weights[0][2], "a domain without items keeps its weight"
    assert np.isfinite(history).all()
    assert history[-1] < 0.5 * history[0]
    ranks = rank_split(
        ModelScorer(model), evaluation_batches(prepared, "test", 64), prepared.catalogue
    )
    assert np.mean(ranks.ranks == 1) > 0.8


# -------------------------------------------------------------------------------- two replicas

REPLICAS = """
from tf_syncrec.models.cross_domain.cgrec import CGRec
from tf_syncrec.models.baselines.sasrec import SASRec
from tf_syncrec.config import Config

keras.utils.set_random_seed(0)
config = Config.model_validate(
    {
        "model": {"window": 6, "dim": 8, "experts": 2, "cross_experts": 1, "blocks": 1}
        | {"dropout": 0.0},
        "loss": {"negatives": 3},
    }
)
items = np.array([[0, 0, 1, 7, 10], [0, 0, 0, 2, 11]], np.int32)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
users = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(items[context.replica_id_in_sync_group :][:1])
)
model = SASRec.from_settings(config, [5, 4, 3])
shares = strategy.run(lambda rows: model.batch_losses(rows).total, [users])
shares = [float(share) for share in strategy.experimental_local_results(shares)]
result = {"shares": shares, "whole": float(model.batch_losses(items).total)}

alone = CGRec.from_settings(config, [5, 4, 3])
with strategy.scope():
    mirrored = CGRec.from_settings(config, [5, 4, 3])
    mirrored.set_weights(alone.get_weights())
    mirrored.compile(keras.optimizers.SGD(0.1))
    data = tf.data.Dataset.from_tensor_slices({"items": items}).batch(2)
    shown = mirrored.fit(data, verbose=0).history["loss"]
start = [weight.numpy() for weight in alone.trainable_weights]
expected = alone.batch_losses(items).total
alone.compile(keras.optimizers.SGD(0.1))
alone.train_step({"items": items})
after, mirrored_after = ([w.numpy() for w in m.trainable_weights] for m in (alone, mirrored))
result |= {
    "unbuilt": [layer.name for layer in mirrored._flatten_layers() if not layer.built],
    "loss_error": abs(float(expected) - shown[0]),
    "step": max(float(np.abs(a - b).max()) for a, b in zip(start, after)),
    "step_error": max(float(np.abs(a - b).max()) for a, b in zip(after, mirrored_after)),
}
result["relative"] = [
    copy.numpy().tolist()
    for copy in strategy.experimental_local_results(mirrored.contribution.relative.value)
]
users = [alone.coalition_values(items[i : i + 1])[0].numpy() for i in range(2)]
result["shapley"] = np.mean([alone._shapley @ values for values in users], axis=0).tolist()
result["gap"] = mirrored.contribution.gap.numpy().tolist()
print(json.dumps(result))
"""


@pytest.mark.slow
def test_two_replicas_take_the_step_of_one():
    """In a process of its own, as TensorFlow fixes devices."""
    result = last_line(TWO_REPLICAS + REPLICAS)
    assert min(result["shares"]) > 0.01
    np.testing.assert_allclose(sum(result["shares"]), result["whole"], rtol=1e-5)
    assert result["unbuilt"] == []
    assert result["step"] > 1e-3
    assert result["step_error"] < 1e-5
    assert result["loss_error"] < 1e-5
    first, second = result["relative"]
    assert first == second
    assert np.ptp(first) > 1e-3
    np.testing.assert_allclose(sum(first), 1, rtol=1e-5)
    # Every replica plays with its own users, and what they found is averaged.
    np.testing.assert_allclose(result["gap"], result["shapley"], rtol=1e-3, atol=1e-4)
