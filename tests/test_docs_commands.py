"""Commands and code of the documents do what the pages say: all are understood, most are run.

Run are, on a small log and with tiny settings, all that need neither the public data nor anything
that is not installed; where a page trains a dozen models, what trains them is made up. The tutorial
is run as it stands, but for the port of the server and for processes of cells.
"""

import contextlib
import gzip
import importlib
import io
import json
import re
import shutil
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import requests
import tensorflow as tf

import tf_syncrec
from data_prep import prepare
from tests.support.comparing import cells_here, domains_of, scripted_cells
from tests.support.documents import PAGES, ROOT, blocks_of
from tests.support.rest_server import running
from tests.test_fit import TINY, write_log
from tf_syncrec.cli import Parser, config_from
from tf_syncrec.config import Config
from tf_syncrec.layers import split_views
from tf_syncrec.losses.functions import LOSSES
from tf_syncrec.models.registry import NETWORKS

OURS = ("benchmarks", "data_prep", "serving", "tests", "tf_syncrec")

SHELLS = ("bash", "console")
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


class Understood(Exception):
    """Ends a command when its options are read."""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_is_understood(page, monkeypatch):
    def parse(self, argv=None):
        args = super(Parser, self).parse_args(argv)
        if hasattr(args, "settings"):
            config_from(args)
        raise Understood

    monkeypatch.setattr(Parser, "parse_args", parse)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    monkeypatch.chdir(ROOT)
    for block in blocks_of(page):
        if block.language not in SHELLS:
            assert not re.search(r"^(\$ )?(python -m|make|curl) ", block.text, flags=re.M), block
            continue
        for words in block.commands:
            if words[0] == "make":
                assert words[1] in targets
            elif words[:2] == ["python", "-m"] and "..." not in words:
                # Nobody else's command: it would be run, as `pip` once was.
                assert words[2].split(".")[0] in OURS, words
                module = importlib.import_module(words[2])
                if words[2].split(".")[0] != "benchmarks":
                    with pytest.raises(Understood):
                        module.main(words[3:])


def call(words):
    """`python -m MODULE ARGUMENTS` in this process; what it printed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        importlib.import_module(words[2]).main(words[3:])
    return said.getvalue()


def option(words, name):
    return words[words.index(name) + 1]


# ------------------------------------------------------------------------ pages that train a little


FIT = "python -m tf_syncrec.fit --dataset interactions --path log.csv --output_dir runs/shop"
"""What most pages begin with."""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, runs):
    """An empty directory with the logs and the run that pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    with contextlib.chdir(folder):
        write_log(folder / "log.csv")
        columns = "customer\tsku\tdepartment\ttime\n"
        rows = (folder / "log.csv").read_text().split("\n", 1)[1].replace(",", "\t")
        (folder / "shop.tsv.gz").write_bytes(gzip.compress((columns + rows).encode()))
        shutil.copy("log.csv", "shop.csv")
        write_orders(folder / "orders.json")
        with extended() as extension:
            extension.orders_to_interactions("orders.json", "orders.parquet")
        (folder / "titles.csv").write_text("item_id,title\nd0_i0,The first\n")
        words = tiny(FIT.split(), folder)
        assert not repeated(words, runs)
        call(words)
        shutil.move("runs/shop", "runs/first of all")
        runs.update(dict.fromkeys(runs, "runs/first of all"))
        shutil.copytree("runs/first of all", "runs/shop")
    return folder


def tiny(words, folder):
    """A command with options that make it small, and keep it off the user's own directories."""
    if words[2] in ("tf_syncrec.fit", "tf_syncrec.compare") and "--resume" not in words:
        words = [*words, "--data_dir", str(folder / "data")]
        words += ["--epochs", "1"] * ("--epochs" not in words) + TINY
        if words[2] == "tf_syncrec.fit" and "log.csv" not in words and "--model" not in words:
            words += ["--model", "bprmf"]  # of what the log looks like, the network knows nothing
        words += ["--output_dir", "runs/unnamed"] * ("--output_dir" not in words)
    return words


@pytest.fixture(scope="module")
def runs():
    """Where the run of a command is, whatever directory it named."""
    return {}


def repeated(words, runs):
    """Whether a command did what is asked for already; it is then not done twice."""
    place = option(words, "--output_dir")
    what = tuple(word for word in words if word != place)
    if what in runs and "--resume" not in words:
        shutil.copytree(runs[what], place, dirs_exist_ok=True)
        return True
    runs[what] = place
    return False


PAGES_TO_RUN = [
    page
    for page in PAGES
    if page.name not in ("tutorial.md", "CONTRIBUTING.md")
    and any(b.language == "bash" and b.why_not is None for b in blocks_of(page))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES_TO_RUN, ids=lambda page: page.stem)
def test_commands_do_what_the_page_says(page, workplace, runs, monkeypatch):
    monkeypatch.chdir(workplace)
    for block in blocks_of(page):
        if block.why_not is not None:
            continue
        if block.language != "bash":
            continue
        for words in block.commands:
            if words[:2] != ["python", "-m"] or words[2] == "serving.local_server":
                continue  # make is what the tests were called by; the tutorial has a server
            words = tiny(words, workplace)
            if "--output_dir" in words and "--resume" not in words:
                shutil.rmtree(option(words, "--output_dir"), ignore_errors=True)
            if words[2] == "tf_syncrec.fit" and repeated(words, runs):
                continue
            if words[2] == "tf_syncrec.compare":
                whole = prepare("interactions", path="log.csv", data_dir="data", report=None)
                with scripted_cells(domains_of(whole)):
                    call(words)
                assert "hurt" in Path(option(words, "--output_dir"), "report.html").read_text()
            else:
                assert call(words)
            if words[2] == "tf_syncrec.fit":
                metrics = Path(option(words, "--output_dir"), "metrics.json").read_text()
                assert json.loads(metrics)["test"]["overall"]["users"] > 0


# ------------------------------------------------------------------------------- docs/extending.md


@contextlib.contextmanager
def extended():
    """The module that the python blocks of the page make; what they register goes again."""
    before = dict(LOSSES), dict(NETWORKS)
    module = types.ModuleType("extension")
    for block in blocks_of(ROOT / "docs/extending.md"):
        if block.language == "python":
            exec(block.text, module.__dict__)
    try:
        yield module
    finally:
        del LOSSES["hinge"], NETWORKS["history_mean"]
        assert before == (LOSSES, NETWORKS)


def write_orders(file):
    """Orders with a line of two departments each."""
    rng = np.random.default_rng(0)
    orders = [
        {
            "customer": f"c{n % 40}",
            "ordered": f"2024-01-{1 + n // 40:02d} 10:00:00",
            "lines": [
                {"sku": f"{name}{rng.integers(9)}", "department": name}
                for name in ("food", "garden")
            ],
        }
        for n in range(240)
    ]
    file.write_text("\n".join(map(json.dumps, orders)))


@pytest.mark.slow
def test_the_loss_of_the_page_can_be_chosen_and_trains(make_model, make_items):
    with extended() as extension:
        model = make_model(name="hinge", redraw=False)
        model.compile(keras.optimizers.Adam(1e-2))
        items = make_items([7, 5, 4])
        losses = [float(model.train_step({"items": items})["loss"]) for _ in range(20)]
        assert np.isfinite(losses).all() and losses[-1] < losses[0]
        positive = np.array([2.0, 0.0], np.float32)
        negative = np.array([[0.5, -1e9], [0.5, -1.0]], np.float32)
        np.testing.assert_allclose(extension.hinge(positive, negative, None), [0.0, 1.5])
    with pytest.raises(ValueError, match="hinge"):
        make_model(name="hinge")


def test_the_baseline_of_the_page_is_the_mean_and_trains(make_prepared):
    config = Config.model_validate({"model": {"dim": 8, "window": 6, "dropout": 0.0}})
    prepared = make_prepared((5, 4, 3))
    items = np.array([[0, 0, 2, 7, 12]], np.int32)
    with extended():
        model = NETWORKS["history_mean"].build(config, prepared)
    view, _ = split_views(items, np.array([[0]], np.int32), model.offsets, 6)
    embedded = model.embedding(view)[:, -4:]  # (SOS) and three items
    found = model.query_vectors(items, np.array([[0, 2]], np.int32))[0]
    for query in found:
        np.testing.assert_allclose(
            query, model.similarity.query(tf.reduce_mean(embedded, axis=1))[0], rtol=1e-5
        )
    model.compile(keras.optimizers.Adam(1e-2))
    losses = [float(model.train_step({"items": items})["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0]


def test_the_network_of_the_page_is_saved_and_knows_its_own_argument(tmp_path):
    items, domains = np.array([[0, 0, 2, 7, 12]], np.int32), np.array([[0, 2]], np.int32)
    with extended() as extension:
        model = extension.HistoryMean([5, 4, 3], decay=0.0, dim=8, window=6, dropout=0.0)
    view, _ = split_views(items, domains[:, :1], model.offsets, 6)
    latest = model.similarity.query(model.embedding(view)[:, -1])[0]  # of decay 0 all there is
    for query in model.query_vectors(items, domains)[0]:
        np.testing.assert_allclose(query, latest, rtol=1e-5)
    model.compile("adam")
    model.save(tmp_path / "model.keras")
    loaded = tf_syncrec.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model) and loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(
        model.query_vectors(items, domains), loaded.query_vectors(items, domains)
    )


@pytest.mark.slow
def test_the_loss_and_the_network_of_the_page_make_a_run(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    with extended() as extension:
        run = tf_syncrec.fit(
            dataset="interactions",
            path="log.csv",
            config="tiny",
            data_dir="data",
            model="history_mean",
            epochs=1,
            settings={"loss.name": "hinge"},
            output_dir="runs/extended",
            verbose=False,
        )
        loaded = tf_syncrec.load("runs/extended")
        assert type(loaded.model) is extension.HistoryMean
        assert loaded.model.target_loss is LOSSES["hinge"]
        assert loaded.evaluate("test") == run.metrics["test"]
        assert len(loaded.recommend([["d0_i0"]], k=5)) == 5


# ---------------------------------------------------------------------------------- docs/python.md


def masked(text):
    """Text without numbers, which differ from machine to machine, and widths that follow them."""
    return " ".join(re.sub(r"\d+(\.\d+)?", "#", text).split())


@pytest.mark.slow
def test_python_in_five_minutes(tmp_path, monkeypatch):
    """All of it, top to bottom; each block prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "__main__"}
    blocks = [b for b in blocks_of(ROOT / "docs/python.md") if b.why_not is None]
    for block, below in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language != "python":
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(block.text, namespace)
        shown = below.text if below and below.language == "text" else ""
        assert masked(said.getvalue()) == masked(shown), block.text
    run, model = namespace["run"], namespace["model"]
    assert namespace["again"].evaluate("test") == run.metrics["test"]
    assert model.built and Path("best.keras").exists() and Path("own.keras").exists()
    counts, negatives = namespace["data"].catalogue.counts, namespace["own"].negatives
    offsets, sizes = model.offsets, model.sizes
    drawn = negatives(tf.range(4), offsets, sizes, keras.random.SeedGenerator(0)).numpy()
    for row, first, size in zip(drawn, offsets.numpy(), sizes.numpy(), strict=True):
        assert ((row >= first) & (row < first + size)).all()
    assert counts[drawn - 1].mean() > counts.mean()  # the popular ones more often


# -------------------------------------------------------------------------------- docs/own-logs.md


def test_dates_as_text_become_times(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"0{n % 9},i{n % 7},d{n % 7 % 2},{1 + n // 9:02d}.01.2024" for n in range(90)]
    Path("dates.csv").write_text("\n".join(["user_id,item_id,domain,timestamp", *rows]) + "\n")
    (block,) = (b for b in blocks_of(ROOT / "docs/own-logs.md") if b.language == "python")
    exec(block.text, {})
    found = prepare("interactions", path="dates.parquet", data_dir=tmp_path / "data", report=None)
    assert {row["user_id"][:1] for row in found.as_dataset("train").as_numpy_iterator()} == {b"0"}
    assert found.data_card["rows"] == {"read": 90, "bad": {}, "repeated": 0} | {
        "dropped_by_core": 0,
        "kept": 90,
    }


# -------------------------------------------------------------------------------- docs/tutorial.md


@pytest.mark.slow
def test_the_tutorial_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    namespace: dict = {}
    said = io.StringIO()
    with contextlib.ExitStack() as stack:
        address = ""
        for block in blocks_of(ROOT / "docs/tutorial.md"):
            if block.language == "python":
                text = block.text
                if address:
                    text = text.replace("http://127.0.0.1:8501", address)
                with contextlib.redirect_stdout(said):
                    exec(text, namespace)
            for words in block.commands if block.language == "bash" else []:
                if words[2] == "serving.local_server":
                    rest = stack.enter_context(running(Path(option(words, "--export_dir"))))
                    address = rest.url
                elif words[0] == "curl":
                    body, url = words[2], words[3].replace("http://127.0.0.1:8501", address)
                    (row,) = requests.post(url, data=body, timeout=30).json()["predictions"]
                    assert len(row["items"]) == 10 and row["known_items"] == 2
                    assert set(row["domains"]) == {"music"}
                elif words[2] == "tf_syncrec.compare":
                    with cells_here():
                        call(words)
                else:
                    call(words)
    assert namespace["answer"].items == row["items"]
    assert re.search(r"contrary +lambda 0\.\d+ +gap -", said.getvalue())
    assert re.search(r"contrary +alone 0\.\d+ +all 0\.\d+", said.getvalue())
    assert (tmp_path / "runs/hurt/report.html").exists()
