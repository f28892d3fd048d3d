"""Fixtures that several test files share."""

import contextlib
import functools
import gc
import io
import os
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are busy with each other's tests
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")


SHARED = ("nights", "compared", "exported")
"""Dear fixtures of a session: all that look at one of them run in one process, which makes it."""

DEAR = (
    *("exported", "nights", "compared", "tests/test_run.py"),
    *("tests/test_fit.py", "tests/training/test_run_machine.py", "tests/tuning/test_search.py"),
    *("tests/training/test_warm_start.py", "tests/comparison/test_tuning.py"),
    *("tests/distributed/test_replicas.py", "tests/distributed/test_workers.py"),
    *("tests/training/test_resume.py", "tests/test_docs_commands.py"),
    *("tests/comparison/test_votes.py", "tests/evaluation/test_trust.py", "tests/test_startup.py"),
    *("tests/test_evaluate.py", "tests/serving/server/test_state_machine.py"),
    "tests/test_pipeline.py",
)
"""Groups that take longest, which begin: at the end they would keep one process alone."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """A file runs in one process, and all that look at a dear fixture of a session too."""
    places = []
    for item in items:
        shared = [name for name in SHARED if name in item.fixturenames]
        group = shared[0] if shared else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
        places.append(DEAR.index(group) if group in DEAR else len(DEAR))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = [
            item for _, _, item in sorted(zip(places, range(len(items)), items, strict=True))
        ]


def pytest_collection_finish():
    """What was imported stays: looking through it again and again takes a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium of this machine, by Playwright; skipped where either is missing."""
    from tests.support.browser import CHROMIUM

    if not CHROMIUM:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def make_model():
    """`make_model(sizes, seed=0, window=6, ...)`: a tiny model whose every weight matters.

    Keywords are settings of any section, e.g. `style="paper", negatives=3, enabled=False`.
    Weights are redrawn, so that no bias is 0, no scale 1, λ not uniform, and experts never agree.
    """
    # Tests without a model need not wait for TensorFlow.
    import keras

    from tf_syncrec.config import Config
    from tf_syncrec.models.syncrec import SyNCRec

    # Named here, so that no test depends on the default of a setting it is not about.
    tiny = (
        {"window": 6, "dim": 8, "experts": 3, "cross_experts": 2, "blocks": 1, "heads": 1}
        | {"dropout": 0.0, "style": "pre_norm", "gate": "causal", "asymmetric": True}
        | {"similarity": "cosine", "temperature": 0.5, "score": "blend"}
        | {"name": "sampled_softmax", "negatives": 3, "shared_negatives": True}
        | {"eta": 0.9, "mutual_information": True, "rho": "sigmoid", "contrast": "all"}
        | {"reduction": "mean"}
        | {
            "precision": "float32",
            "enabled": True,
            "gap": "mean",
            "scaled": True,
            "trainable_rates": True,
        }
    )

    def make(sizes=(5, 4, 3), seed=0, redraw=True, **settings):
        sections: dict[str, dict] = {}
        for key, value in (tiny | settings).items():
            owners = [
                name
                for name, field in Config.model_fields.items()
                if key in getattr(type(field.default), "model_fields", ())
            ]
            assert owners, f"no section of the configuration has {key!r}"
            # Two sections have a name; the network is SyNCRec, so it is the loss's.
            owner = "loss" if key == "name" else owners[0]
            sections.setdefault(owner, {})[key] = value
        keras.utils.set_random_seed(seed)
        model = SyNCRec.from_settings(Config.model_validate(sections), sizes)
        if redraw:
            rng = np.random.default_rng(seed)
            for weight in model.trainable_weights:
                weight.assign(weight + rng.normal(0, 0.3, weight.shape).astype(np.float32))
            shares = rng.uniform(0.5, 1.5, len(sizes)).astype(np.float32)
            model.negative_transfer.relative.assign(shares / shares.sum())
        return model

    return make


@pytest.fixture
def make_items():
    """`make_items(lengths, sizes, seed=0)`: left-padded random sequences `[users, max length]`.

    `domains` restricts the domains of each user, e.g. `[[0, 1], [2]]`.
    """

    def make(lengths, sizes=(5, 4, 3), seed=0, domains=None):
        rng = np.random.default_rng(seed)
        first = 1 + np.cumsum(sizes) - np.asarray(sizes)
        items = np.zeros((len(lengths), max(lengths)), np.int32)
        for user, length in enumerate(lengths):
            allowed = domains[user] if domains else [d for d, size in enumerate(sizes) if size]
            for t in range(items.shape[1] - length, items.shape[1]):
                d = rng.choice(allowed)
                items[user, t] = first[d] + rng.integers(sizes[d])
        return items

    return make


@pytest.fixture
def representations():
    """`representations(model, items)`: `(Y^cross, Y^single, domains)`, `[users, slots, ...]`.

    A third argument says when the items were.
    """
    from tf_syncrec.layers import group_by_domain

    def run(model, items, timestamps=None):
        cross, single = model.training_views(items, timestamps=timestamps, training=False)
        blocks = group_by_domain(single.domains, model.num_domains, block_size=4)
        y_cross = model.acmoe.cross(model.embedding(cross), cross)
        y_single = model.acmoe.single(model.embedding(single), single, blocks)
        return y_cross, blocks.scatter(y_single, single.domains.shape), single.domains

    return run


@pytest.fixture
def same_negatives(monkeypatch):
    """Replaces chance: the negatives of a domain are its first items, in turn."""
    import tensorflow as tf

    def first_items(domains, count, offsets, sizes, seed):
        size = tf.maximum(tf.gather(sizes, domains), 1)[..., None]
        return tf.gather(offsets, domains)[..., None] + tf.range(count) % size

    monkeypatch.setattr("tf_syncrec.losses.negatives.sample_in_domain", first_items)


class FakePrepared:
    """As much of a `PreparedDataset` as the pipelines use, made from a dict of row lists."""

    name = "fake/0123abcd/1.0.0"
    item_columns = None
    """What an items file says, as `PreparedDataset.item_columns`."""

    def __init__(self, catalogue, splits: dict[str, list[dict]]):
        self.catalogue = catalogue
        self.splits = splits

    def as_dataset(self, split):
        import tensorflow as tf

        rows = self.splits[split]
        signature = {
            "user_id": tf.TensorSpec([], tf.string),
            "items": tf.TensorSpec([None], tf.int32),
            "timestamps": tf.TensorSpec([None], tf.float64),
        }
        rows = [{"timestamps": np.arange(len(row["items"]))} | row for row in rows]
        if split != "train":
            rows = [
                {"target_timestamp": float(len(row["items"])), "basket": [row["target"]]} | row
                for row in rows
            ]
            signature |= {
                "target": tf.TensorSpec([], tf.int32),
                "target_item_id": tf.TensorSpec([], tf.string),
                "domain": tf.TensorSpec([], tf.int32),
                "target_timestamp": tf.TensorSpec([], tf.float64),
                "basket": tf.TensorSpec([None], tf.int32),
            }
        return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=signature)


@pytest.fixture
def make_prepared():
    """`make_prepared(sizes, users, seed)`: random users, and a catalogue that counts their items.

    Items repeat, by the rule of every second domain, domains mix, some histories are long, and some
    targets were never trained.
    """
    from data_prep import Catalogue

    def make(sizes=(12, 3, 0, 20), users=80, seed=0, longest=25) -> FakePrepared:
        rng = np.random.default_rng(seed)
        names = tuple(f"domain {d}" for d in range(len(sizes)))
        num_items = sum(sizes)
        item_domains = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        ids = np.array([f"item {i}" for i in range(1, num_items + 1)], object)
        counts, repeats = np.zeros(num_items, np.int64), np.arange(len(sizes)) % 2 == 1
        splits: dict[str, list[dict]] = {"train": [], "validation": [], "test": []}
        for user in range(users):
            user_id = f"user {user}".encode()
            trained = rng.integers(1, num_items + 1, rng.integers(1, longest)).astype(np.int32)
            counts += np.bincount(trained - 1, minlength=num_items)
            splits["train"].append({"user_id": user_id, "items": trained})
            history = trained
            for split in ("validation", "test"):
                if rng.random() < 0.1:
                    target, raw, domain = 0, b"never seen", rng.integers(len(sizes))
                else:
                    target = rng.integers(1, num_items + 1)
                    raw, domain = ids[target - 1].encode(), item_domains[target - 1]
                splits[split].append(
                    {"user_id": user_id, "items": history, "target": target, "domain": domain}
                    | {"target_item_id": raw}
                )
                if target:
                    history = np.append(history, np.int32(target))
        return FakePrepared(Catalogue(names, ids, item_domains, counts, repeats), splits)

    return make


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """One comparison that most tests look at: `(directory, comparison, cells, what was said)`."""
    # Tests without a comparison need not wait for TensorFlow.
    from tests.support.comparing import MODELS, cells_here, read_cells, run, strict_json

    directory = tmp_path_factory.mktemp("compare")
    said = io.StringIO()
    with cells_here(), contextlib.redirect_stdout(said):
        root = run(directory, models=MODELS, seeds="3,1")
    return SimpleNamespace(
        directory=directory,
        root=root,
        comparison=strict_json(root / "comparison.json"),
        cells=read_cells(root),
        said=said.getvalue().splitlines(),
    )


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """`exported(network, **settings)`: of `tests.support.exporting.make_served`.

    Each is made once for all tests, which leave it as it is, and loaded once: by servers without
    its warm-up, which takes longer than to make it, and by what asks a model in this process.
    """
    import tensorflow as tf

    from serving.server import versions
    from tests.support.exporting import make_served
    from tests.support.rest_server import without_warmup

    made, serve, load = {}, versions.LoadedVersion, tf.saved_model.load

    @functools.cache
    def serve_once(path):
        with without_warmup():
            return serve(path)

    @functools.cache
    def make(network, settings):
        base = tmp_path_factory.mktemp("export") / "not" / "there" / "syncrec"
        found = make_served(base, network, **dict(settings))
        made[str(found.version)] = found.loaded
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            *(versions, "LoadedVersion"),
            lambda path: (serve_once if str(path) in made else serve)(path),
        )
        patch.setattr(tf.saved_model, "load", lambda path: made.get(path) or load(path))
        yield lambda network="syncrec", **settings: make(network, tuple(settings.items()))


@pytest.fixture(scope="session")
def served(exported):
    """A model of two views and its export."""
    return exported()


@pytest.fixture(scope="session")
def rest(served):
    """The local server over that export, as `rest_server.running` says, and `served`."""
    from tests.support.rest_server import LIMITS, running

    with running(served.base, LIMITS) as rest:
        rest.served = served
        yield rest
