"""Every network is an ordinary Keras model: saved, cloned, compiled, trained and ranked as one."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf

from tests.support.networks import each
from tests.support.processes import last_line
from tf_syncrec.data.batches import datasets, evaluation_batches, train_batches
from tf_syncrec.evaluation.full_ranking import ModelScorer, rank_split
from tf_syncrec.layers import TransformerExperts
from tf_syncrec.losses.functions import LOSSES
from tf_syncrec.losses.negatives import UniformNegatives
from tf_syncrec.metrics.gains import METRICS
from tf_syncrec.models.baselines.bprmf import BPRMF
from tf_syncrec.models.baselines.esasrec import ESASRec
from tf_syncrec.models.baselines.gru4rec import GRU4Rec
from tf_syncrec.models.baselines.sasrec import SASRec, SASRecPair
from tf_syncrec.models.cross_domain.abxi import ABXI
from tf_syncrec.models.cross_domain.cgrec import CGRec
from tf_syncrec.models.cross_domain.mmoe import MMoE
from tf_syncrec.models.cross_domain.pi_net import PiNet
from tf_syncrec.models.cross_domain.two_domains.c2dsr import C2DSR
from tf_syncrec.models.cross_domain.two_domains.man import MAN
from tf_syncrec.models.cross_domain.two_domains.mifn import MIFN
from tf_syncrec.models.cross_domain.two_domains.tri_cdr import TriCDR
from tf_syncrec.models.cross_domain.users.bitgcf import BiTGCF
from tf_syncrec.models.cross_domain.users.cat_art import CATART
from tf_syncrec.models.cross_domain.users.clfm import CLFM
from tf_syncrec.models.cross_domain.users.cmf import CMF
from tf_syncrec.models.cross_domain.users.deepapf import DeepAPF
from tf_syncrec.models.cross_domain.users.dtcdr import DTCDR
from tf_syncrec.models.syncrec import SyNCRec
from tf_syncrec.training.optimizers import RowwiseAdam
from tf_syncrec.utils.nested import flat

SIZES = {"books": 12, "films": 3, "empty": 0, "music": 20}
USERS = [f"user {number}" for number in range(80)]
PAIRS = np.array([[n % 70, n % 2, n % 3] for n in range(180)], np.int32)
EDGES = np.array([[1, 2], [1, 14], [14, 3], [16, 20]]), np.array([[1, 2], [16, 20]])
RELATED = np.random.default_rng(0).integers(0, 36, (36, 4, 2))
TINY: dict[str, Any] = {"window": 6, "dim": 8, "negatives": 3}
NETWORKS = {
    "syncrec": lambda **more: SyNCRec(
        SIZES, **{"experts": 3, "cross_experts": 2, "blocks": 1, "neighbours": 2} | TINY | more
    ),
    "sasrec": lambda **more: SASRec(SIZES, blocks=1, **TINY | more),
    "sasrec_pair": lambda **more: SASRecPair(SIZES, blocks=1, neighbours=2, **TINY | more),
    "gru4rec": lambda **more: GRU4Rec(SIZES, blocks=1, **TINY | more),
    "mmoe": lambda **more: MMoE(SIZES, experts=2, blocks=1, **TINY | more),
    "cgrec": lambda **more: CGRec(SIZES, experts=2, blocks=1, **TINY | more),
    "esasrec": lambda **more: ESASRec(SIZES, blocks=1, **TINY | more),
    "abxi": lambda **more: ABXI(SIZES, domain_rank=2, **TINY | more),
    "pi_net": lambda **more: PiNet(SIZES, members=2, **TINY | more),
    "c2dsr": lambda **more: C2DSR(SIZES, edges=EDGES, blocks=1, **TINY | more),
    "man": lambda **more: MAN(SIZES, blocks=1, groups=2, **TINY | more),
    "tri_cdr": lambda **more: TriCDR(SIZES, blocks=1, **TINY | more),
    "mifn": lambda **more: MIFN(SIZES, related=RELATED, **TINY | more),
    "cat_art": lambda **more: CATART(SIZES, USERS, **TINY | more),
    "cmf": lambda **more: CMF(SIZES, USERS, **TINY | more),
    "clfm": lambda **more: CLFM(SIZES, USERS, **TINY | more),
    "dtcdr": lambda **more: DTCDR(SIZES, USERS, **TINY | more),
    "deepapf": lambda **more: DeepAPF(SIZES, USERS, **TINY | more),
    "bitgcf": lambda **more: BiTGCF(SIZES, USERS, **{"pairs": PAIRS} | TINY | more),
    "bprmf": lambda **more: BPRMF(SIZES, USERS, **TINY | more),
}
BATCH = {
    "items": np.array([[0, 0, 3, 14], [1, 20, 7, 33]], np.int32),
    "domain": np.array([0, 3], np.int32),
    "user_id": np.array(["user 3", "nobody"], object),
}


@pytest.fixture
def prepared(make_prepared):
    return make_prepared(tuple(SIZES.values()))


def asked(model):
    return model({name: tf.constant(BATCH[name]) for name in model.evaluation_signature})


@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_network_is_saved_cloned_and_loaded(tmp_path, name, prepared):
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    train, validation, _ = datasets(prepared, model, batch_size=16)
    # Eagerly, as tracing each network four times takes a minute and a half.
    model.compile(RowwiseAdam(1e-2), metrics=["ndcg@3"], run_eagerly=True)
    model.fit(train, epochs=1, steps_per_epoch=2, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) and loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(asked(model), asked(loaded))
    for ours, theirs in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # The optimizer goes on where it was; Keras saves no chance.
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        theirs.assign(ours)
    kept = model.optimizer.variables, loaded.optimizer.variables
    for ours, theirs in zip(*kept, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    batch = next(iter(train))
    for one in (model, loaded):
        one.train_on_batch(batch)
    np.testing.assert_array_equal(asked(model), asked(loaded))
    found = [one.evaluate(validation, return_dict=True, verbose=0) for one in (model, loaded)]
    assert found[0] == found[1] and set(found[0]) >= {"ndcg@3", "ndcg@3/books"}

    clone = keras.models.clone_model(model)
    assert clone is not model and clone.get_config() == model.get_config()
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]


def test_a_process_that_made_no_network_loads_one(tmp_path):
    model = NETWORKS["mmoe"]()
    model.compile(RowwiseAdam(0.02))
    model.save(tmp_path / "model.keras")
    found = last_line(
        "import json, tf_syncrec\n"
        f"model = tf_syncrec.load_model({str(tmp_path / 'model.keras')!r})\n"
        "kinds = [type(part).__name__ for part in (model, model.optimizer)]\n"
        "print(json.dumps([kinds, list(model.domains)]))"
    )
    assert found == [["MMoE", "RowwiseAdam"], list(SIZES)]


def test_networks_saved_before_their_file_moved_are_found():
    """Keras finds them by their registered names, whatever module was written beside these."""
    saved = keras.saving.serialize_keras_object(NETWORKS["sasrec"]())
    assert saved["module"] == "tf_syncrec.models.baselines.sasrec"
    assert saved["registered_name"] == "tf_syncrec>SASRec"
    before = saved | {"module": "tf_syncrec.models.sasrec"}
    assert type(keras.saving.deserialize_keras_object(before)) is SASRec


@pytest.mark.parametrize("name", each(NETWORKS))
def test_ids_may_be_of_any_kind_of_whole_number(name):
    model = NETWORKS[name]()
    wide = {key: np.asarray(BATCH[key]) for key in model.evaluation_signature}
    wide = {
        key: value.astype(np.int64) if value.dtype == np.int32 else value
        for key, value in wide.items()
    }
    np.testing.assert_array_equal(asked(model), model(wide))


@keras.saving.register_keras_serializable("tests")
def hinge(positive, negative, sampling_rate):
    return tf.nn.relu(1.0 - positive + tf.reduce_max(negative, axis=-1))


@keras.saving.register_keras_serializable("tests")
class FirstItems(UniformNegatives):
    """The first items of each domain."""

    def __call__(self, domains, offsets, sizes, seed):
        places = tf.range(self.count) % tf.maximum(tf.gather(sizes, domains)[..., None], 1)
        return tf.gather(offsets, domains)[..., None] + places


def test_loss_and_negatives_of_ones_own_count_and_are_kept(tmp_path, prepared):
    model = NETWORKS["sasrec"](loss=hinge, negatives=FirstItems(2), dropout=0.0)
    batch = next(iter(datasets(prepared, model)[0]))
    one, other = (float(model.batch_losses(**batch).total) for _ in range(2))
    assert one == other  # no chance in it
    model.compile("adam", loss="bpr")
    assert float(model.batch_losses(**batch).total) != one
    model.compile("adam", loss=hinge)
    assert float(model.batch_losses(**batch).total) == one
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.batch_losses(**batch).total) == one
    assert model.target_loss is hinge is loaded.target_loss


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "mse"}, "loss must be one of"),
        ({"loss": keras.losses.MeanSquaredError()}, "loss must be one of"),
        ({"jit_compile": True}, "jit_compile.*XLA"),
        ({"metrics": ["accuracy"]}, "a metric is hr@k, ndcg@k or mrr. Received: 'accuracy'"),
    ],
)
def test_what_cannot_be_compiled_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NETWORKS["sasrec"]().compile("adam", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim must be 1 or more. Received: 0"),
        ({"window": 1}, "window must be 2 or more. Received: 1"),
        ({"loss": "hinge loss"}, "loss must be one of"),
        ({"similarity": "euclid"}, "kind must be 'dot' or 'cosine'. Received: 'euclid'"),
        ({"negatives": "many"}, "negatives must be a number"),
        ({"score": "best"}, "score must be one of"),
        ({"experts": 2, "cross_experts": 2}, "cross_experts"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyNCRec(SIZES, **TINY | arguments)
    with pytest.raises(ValueError, match="domain_sizes"):
        SyNCRec({}, **TINY)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        pytest.param("syncrec", "adam", marks=pytest.mark.slow),
        ("sasrec", "sgd"),
        pytest.param("bprmf", "adam", marks=pytest.mark.slow),
    ],
)
def test_compile_by_name_fit_and_evaluate(name, optimizer, prepared):
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    train, validation, _ = datasets(prepared, model, batch_size=16)
    model.compile(optimizer, jit_compile="auto")
    before = [weight.numpy() for weight in model.trainable_weights]
    history = model.fit(train, validation_data=validation, epochs=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert any((old != new).any() for old, new in zip(before, model.trainable_weights, strict=True))
    names = {f"val_{metric}{of}" for metric in METRICS for of in ("", *(f"/{d}" for d in SIZES))}
    assert names <= set(history) and len(history["val_ndcg@10"]) == 3


def test_a_dense_gradient_moves_a_table_as_its_slices_do(prepared):
    """Keras's Adam squares each slice of a row, where Adam has the square of their sum."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        models.append(NETWORKS["sasrec"](dropout=0.0))
    batch = next(iter(datasets(prepared, models[0])[0]))
    models[0].compile(keras.optimizers.Adam(0.1))
    models[0].train_on_batch(batch)
    optimizer = keras.optimizers.Adam(0.1)
    with tf.GradientTape() as tape:
        loss = models[1].batch_losses(**batch).total
    gradients = tape.gradient(loss, models[1].trainable_weights)
    optimizer.apply([tf.convert_to_tensor(g) for g in gradients], models[1].trainable_weights)
    for ours, theirs in zip(*(model.trainable_weights for model in models), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_test_step_ranks_as_full_ranking_does(name, prepared, monkeypatch):
    """In batches of one domain, of all together, and in pieces."""
    keras.utils.set_random_seed(0)
    model = NETWORKS[name]()
    if model.neighbours:
        others = np.random.default_rng(0).integers(
            0, model.num_items, model.neighbours.others.shape
        )
        others[0] = 0
        model.neighbours.others.assign(others)
        model.neighbours.similarities.assign((others > 0).astype(np.float32))
        model.neighbours.weight.assign(5.0)
        model.neighbours.decay.assign(0.7)
    batches = evaluation_batches(prepared, "test", 32)
    ranks = rank_split(ModelScorer(model), batches, prepared.catalogue)
    expected = dict(zip(ranks.user_ids, ranks.ranks, strict=True))
    mixed = batches.unbatch().padded_batch(1)  # rows of any lengths
    rows = [{key: value.numpy() for key, value in row.items()} for row in mixed]

    def on_the_left(parts):
        width = max(part.shape[1] for part in parts)
        return [np.pad(part, [[0, 0], [width - part.shape[1], 0]]) for part in parts]

    columns = {key: [row[key] for row in rows] for key in rows[0]}
    padded = {
        key: np.concatenate(on_the_left(parts) if parts[0].ndim > 1 else parts)
        for key, parts in columns.items()
    }
    order = np.random.default_rng(1).permutation(len(rows))
    together = {key: tf.constant(value[order]) for key, value in padded.items()}
    for at_once in (2**23, 45):
        monkeypatch.setattr("tf_syncrec.metrics.target_ranks.SCORES_AT_ONCE", at_once)
        for batch in [*batches, together]:
            found = model.target_ranks(batch).numpy()
            users = batch["user_id"].numpy()
            assert [expected[user] for user in users] == found.tolist()
    model.compile("adam")
    metrics = model.evaluate(batches, return_dict=True, verbose=0)
    table = ranks.metrics(list(SIZES))
    for metric in METRICS:
        np.testing.assert_allclose(metrics[metric], table["overall"][metric], rtol=1e-12)
        for domain in SIZES:
            found = metrics[f"{metric}/{domain}"]
            np.testing.assert_allclose(found, table["domains"][domain][metric], rtol=1e-12)
    found = dict(flat(model.ranking_metrics.table()))
    assert found == pytest.approx(dict(flat(table)), rel=1e-12)


@pytest.mark.slow
def test_a_validation_leaves_the_metrics_of_the_training(prepared):
    keras.utils.set_random_seed(0)
    model = NETWORKS["syncrec"](dropout=0.0)
    train, validation, _ = datasets(prepared, model, batch_size=16)
    model.compile("sgd")

    class Look(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            self.before = model.domain_sums()

        def on_epoch_end(self, epoch, logs=None):
            assert model.epoch_scalars()["loss"] == pytest.approx(logs["loss"])
            assert self.before is not None and self.before[4].sum() > 0
            np.testing.assert_array_equal(self.before, model.domain_sums())

    model.fit(train, validation_data=validation, epochs=2, verbose=0, callbacks=[Look()])


def kept_of(model):
    return [weight.numpy() for weight in model.weights]


@pytest.mark.slow
def test_early_stopping_and_checkpoints_of_keras(tmp_path, prepared):
    keras.utils.set_random_seed(0)
    model = NETWORKS["sasrec"]()
    train, validation, _ = datasets(prepared, model, batch_size=16)
    model.compile(keras.optimizers.Adam(0.5))
    best = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            best, monitor="val_ndcg@10", mode="max", save_best_only=True
        ),
        keras.callbacks.EarlyStopping(
            "val_ndcg@10", mode="max", patience=2, restore_best_weights=True
        ),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
    ]
    history = model.fit(
        train, validation_data=validation, epochs=60, verbose=0, callbacks=callbacks
    ).history["val_ndcg@10"]
    assert len(history) < 60
    loaded = keras.models.load_model(best)
    score = loaded.evaluate(validation, return_dict=True, verbose=0)["ndcg@10"]
    assert score == pytest.approx(max(history))
    if int(np.argmax(history)) < len(history) - 1:
        for ours, theirs in zip(kept_of(model), kept_of(loaded), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert list((tmp_path / "logs" / "validation").iterdir())
    assert len((tmp_path / "log.csv").read_text().splitlines()) == len(history) + 1


class Interruption(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_backup_and_restore_goes_on_with_the_next_epoch(tmp_path, prepared):
    """Keras keeps weights and optimizer, no chance: so there is none here."""

    def train(*callbacks):
        keras.utils.set_random_seed(0)
        model = NETWORKS["sasrec"](dropout=0.0, negatives=FirstItems(3))
        batches = list(datasets(prepared, model, batch_size=40)[0])
        data = tf.data.Dataset.from_generator(
            lambda: iter(batches), output_signature=datasets(prepared, model)[0].element_spec
        ).apply(tf.data.experimental.assert_cardinality(len(batches)))
        model.compile(keras.optimizers.Adam(0.01))
        model.fit(data, epochs=4, verbose=0, callbacks=list(callbacks))
        return kept_of(model)

    whole = train()

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    with pytest.raises(KeyboardInterrupt):
        train(backup(), Interruption())
    for ours, theirs in zip(whole, train(backup()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_keras_tuner_tunes_a_network(tmp_path, prepared):
    def build(choices):
        model = NETWORKS["sasrec"](dim=choices.Choice("dim", [4, 8]))
        rate = choices.Float("learning_rate", 1e-3, 1e-1, sampling="log")
        model.compile(keras.optimizers.Adam(rate))
        return model

    tuner = keras_tuner.RandomSearch(
        build,
        objective=keras_tuner.Objective("val_ndcg@10", "max"),
        max_trials=3,
        seed=0,
        directory=tmp_path,
    )
    train, validation, _ = datasets(prepared, NETWORKS["sasrec"](), batch_size=40)
    tuner.search(train, validation_data=validation, epochs=1, verbose=0)
    best = tuner.oracle.get_best_trials(3)
    assert [trial.score for trial in best] == sorted((t.score for t in best), reverse=True)
    (model,) = tuner.get_best_models(1)
    assert model.dim == best[0].hyperparameters.get("dim")
    found = model.evaluate(validation, return_dict=True, verbose=0)["ndcg@10"]
    assert found == pytest.approx(best[0].score)


def test_a_learning_rate_scheduler_is_obeyed(prepared):
    model = NETWORKS["sasrec"]()
    train, _, _ = datasets(prepared, model, batch_size=16)
    model.compile(RowwiseAdam(1e-2))
    before = model.embedding.items.numpy()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0)
    model.fit(train, epochs=1, verbose=0, callbacks=[scheduler])
    np.testing.assert_array_equal(before, model.embedding.items)


@pytest.mark.parametrize(
    ("items", "domains", "message"),
    [
        ([[3, 0]], [[0]], "padded with 0 on the left"),
        ([[3, 0, 5]], [[0]], "padded with 0 on the left"),
        ([[-1, 5]], [[0]], "padded with 0 on the left"),
        ([[5, 36]], [[0]], "from 1 to 35"),
        ([[0, 5]], [[1, 1]], "each at most once"),
        ([[0, 5]], [[4]], "from 0 to 3"),
    ],
)
@pytest.mark.parametrize("name", ["syncrec", "sasrec", "gru4rec", "mmoe"])
def test_wrong_input_is_refused_where_a_network_is_asked(name, items, domains, message):
    model = NETWORKS[name]()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        model.query_vectors(tf.constant(items), tf.constant(domains))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", each(NETWORKS))
def test_the_number_format_is_an_argument(name, precision, prepared):
    model = NETWORKS[name](dtype=precision)
    assert keras.config.dtype_policy().name == "float32"
    assert model.embedding.compute_dtype == ("float32" if precision == "float32" else "bfloat16")
    assert all(weight.dtype in ("float32", "int32") for weight in model.weights)
    again = type(model).from_config(model.get_config())
    assert again.dtype_policy.name == precision
    losses = model.batch_losses(**next(iter(datasets(prepared, model)[0])))
    assert losses.total.dtype == tf.float32 and np.isfinite(losses.total)


def test_experts_of_ones_own(prepared):
    """A layer in place of a number: here the same experts, made by hand."""
    given = TransformerExperts(2, num_blocks=1, dim=8, dropout=0.2)
    model = NETWORKS["syncrec"](experts=(given, TransformerExperts(1, num_blocks=1, dim=8)))
    assert model.acmoe.cross_experts is given
    again = SyNCRec.from_config(model.get_config())
    assert again.acmoe.cross_experts.num_experts == 2 and again.acmoe.num_experts == 3
    with tf.GradientTape() as tape:
        loss = model.batch_losses(**next(iter(datasets(prepared, model)[0]))).total
    gradients = tape.gradient(loss, given.trainable_weights)
    assert all(gradient is not None for gradient in gradients)
    of_one = NETWORKS["syncrec"](experts=given).acmoe
    assert of_one.num_experts == 4 and of_one.single_experts is not of_one.cross_experts
    for wrong in (keras.layers.Dense(8), [given], "many"):
        with pytest.raises(ValueError, match="experts must be a number, a layer"):
            NETWORKS["syncrec"](experts=wrong)


@pytest.mark.parametrize("layout", ["right padding", "weights"])
def test_a_step_refuses_what_it_cannot_train_on(layout, prepared):
    model = NETWORKS["gru4rec"]()
    model.compile("sgd")
    items = tf.constant([[3, 14, 0, 0]])
    error: Any = tf.errors.InvalidArgumentError
    if layout == "weights":
        items, error = items[:, :2], ValueError
    data = tf.data.Dataset.from_tensors({"items": items})
    if layout == "weights":
        data = data.map(lambda inputs: (inputs, tf.ones([1]), tf.ones([1])))
    with pytest.raises(error, match=r"padded with 0 on the left|without targets or sample weights"):
        model.fit(data, verbose=0)


def test_batches_of_the_other_kind_and_of_other_data_are_refused(prepared):
    model = NETWORKS["sasrec"]()
    model.compile("sgd")
    train, validation, _ = datasets(prepared, model)
    with pytest.raises(ValueError, match=r"`fit` takes batches to train on. Received: .*target"):
        model.fit(validation, verbose=0)
    with pytest.raises(ValueError, match=r"`evaluate` takes batches with targets. Received: items"):
        model.evaluate(train, verbose=0)
    other = SASRec({"books": 12, "films": 4}, blocks=1, **TINY)
    with pytest.raises(ValueError, match=r"3': 20}\. Received: one for {'books': 12, "):
        datasets(prepared, other)


@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_summary_counts_all_weights(name):
    """Keras asks each layer for its output's shape with what the layer was built with."""
    model = NETWORKS[name]()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert f"Total params: {model.count_params():,}" in "".join(lines)


def test_train_batches_of_keras_and_of_a_run_hold_the_same_windows(prepared):
    model = NETWORKS["sasrec"]()
    ours = train_batches(prepared, model.window, 16, 0, "padded")
    one, other = (
        sorted(tuple(row) for batch in data for row in np.pad(
            batch["items"], [[0, 0], [7 - batch["items"].shape[1], 0]]).tolist())
        for data in (ours.epoch(0), ours.dataset())
    )  # fmt: skip
    assert one == other
    dataset = ours.dataset()
    first, second = (
        np.concatenate([batch["items"].numpy()[:, -1] for batch in dataset]) for _ in range(2)
    )
    assert (first != second).any()  # another order each epoch
    assert dataset.cardinality() == ours.steps


def test_losses_are_those_of_the_registry():
    for name in LOSSES:
        assert NETWORKS["sasrec"](loss=name).get_config()["loss"] == name
