"""The TFDS side: reuse, reproducible bytes, errors that leave nothing, `tfds.load`."""

import hashlib
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

import data_prep
from data_prep import Catalogue, InputError, prepare
from data_prep.builders import Synthetic
from data_prep.pipeline.sequences import build_sequences
from data_prep.store.sequence_builder import SequenceBuilder
from tests.support.documents import ROOT

SMALL = {"users": 60, "items_per_domain": 20, "interactions_per_user": 12}
LINES = [
    f"u{u},i{(u * 3 + n) % 9},{'ab'[(u * 3 + n) % 9 % 2]},{1_600_000_000.25 + u + 60 * n}"
    for u in range(8)
    for n in range(5)
]
HEADER = "user_id,item_id,domain,timestamp"


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\n".join([HEADER, *LINES]) + "\n")
    return path


def digests(folder):
    """Digests of the data; TFDS's own JSON may hold dates and times."""
    names = [p for p in folder.rglob("*") if "tfrecord" in p.name or p.suffix == ".parquet"]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


def test_splits_and_catalogue(tmp_path, log):
    prepared = prepare("interactions", path=log, data_dir=tmp_path / "data", report=None)
    train = {r["user_id"]: r for r in prepared.as_dataset("train").as_numpy_iterator()}
    assert set(next(iter(train.values()))) == {"user_id", "items", "timestamps"}
    assert len(train) == 8
    catalogue = prepared.catalogue
    for split, extra in (("validation", 0), ("test", 1)):
        for row in prepared.as_dataset(split).as_numpy_iterator():
            mine = train[row["user_id"]]
            assert row["items"].dtype == np.int32 and row["timestamps"].dtype == np.float64
            assert row["items"][:3].tolist() == mine["items"].tolist()
            assert len(row["items"]) == len(row["timestamps"]) == 3 + extra
            # Exact: single precision would round these by a minute.
            assert row["target_timestamp"] % 1 == 0.25
            assert row["timestamps"][0] == mine["timestamps"][0]
            assert (np.diff(row["timestamps"]) == 60).all()
            name = catalogue.item_ids[row["target"] - 1]
            assert name.encode() == row["target_item_id"]
            assert catalogue.item_domains[row["target"] - 1] == row["domain"]
    assert prepared.metadata["domains"] == ["a", "b"] == list(catalogue.domains)
    assert prepared.metadata["rows"] == len(LINES)


def test_an_unchanged_dataset_is_reused_and_a_changed_one_never(tmp_path, log):
    def run(**options):
        options = {"path": log, "data_dir": tmp_path / "data", "report": said.append} | options
        return prepare("interactions", **options)

    said: list[str] = []
    first = run()
    folder = tmp_path / "data"
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    said.clear()
    again = run()
    assert said == [f"Reusing {first.builder.data_dir}"]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert again.metadata == first.metadata
    copy = tmp_path / "elsewhere.csv"
    copy.write_bytes(log.read_bytes())
    assert run(path=copy).builder.data_dir == first.builder.data_dir
    others = {first.builder.data_dir, run(min_interactions=2).builder.data_dir}
    log.write_text(log.read_text().replace("u7,", "u8,"))
    others.add(run().builder.data_dir)
    assert len(others) == 3


def test_bytes_are_reproducible(tmp_path, log):
    folders = []
    for name, lines in (("one", LINES), ("two", LINES[::-1])):
        log.write_text("\n".join([HEADER, *lines]) + "\n")
        prepare("interactions", path=log, data_dir=tmp_path / name, report=None)
        folders.append(digests(tmp_path / name))
    assert folders[0] == folders[1] and len(folders[0]) == 4


def test_an_error_leaves_nothing(tmp_path, log):
    data_dir = tmp_path / "data"
    log.write_text("\n".join([HEADER, *(line.replace(",b,", ",a,") for line in LINES)]))
    with pytest.raises(InputError, match="one domain only"):
        prepare("interactions", path=log, data_dir=data_dir, report=None)
    assert not data_dir.exists()
    # Nor where something was before.
    prepare("synthetic", synthetic=SMALL, data_dir=data_dir, report=None)
    before = sorted(data_dir.rglob("*"))
    with pytest.raises(InputError):
        prepare("interactions", path=log, data_dir=data_dir, report=None)
    assert set(data_dir.rglob("*")) <= set(before)


# Waits in the middle of a preparation until its standard input ends.
SLOW = """
import sys
from data_prep import prepare
from data_prep.store import tfrecords
write = tfrecords.write_split
def slowly(*args):
    print("writing", flush=True)
    sys.stdin.read()
    return write(*args)
tfrecords.write_split = slowly
prepare("interactions", path=sys.argv[1], data_dir=sys.argv[2], report=None)
"""


@pytest.fixture
def another(tmp_path, log):
    """A process that is in the middle of preparing the log."""
    command = [sys.executable, "-c", SLOW, str(log), str(tmp_path / "data")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None and process.stdout.readline().startswith(b"writing")
        yield process
        process.kill()


def test_who_comes_second_waits_and_takes_what_the_first_has_made(tmp_path, log, another):
    said: list[str] = []

    def report(line):
        said.append(line)
        if "waiting" in line:
            another.stdin.close()

    options: dict = {"path": log, "report": report}
    second = prepare("interactions", data_dir=tmp_path / "data", **options)
    assert said[0].startswith("Another process is preparing") and second.builder.data_dir in said[0]
    assert said[1:] == [f"Reusing {second.builder.data_dir}"] and another.wait(60) == 0
    alone = prepare("interactions", data_dir=tmp_path / "alone", **options)
    assert second.metadata == alone.metadata
    assert digests(tmp_path / "data") == digests(tmp_path / "alone")
    assert [len(list(second.as_dataset(name))) for name in ("train", "test")] == [8, 8]
    folder = second.builder.data_path
    assert list(folder.parent.iterdir()) == [folder]


def test_who_waits_for_one_that_dies_prepares_it(tmp_path, log, another):
    said: list[str] = []

    def report(line):
        said.append(line)
        if "waiting" in line:
            another.kill()

    second = prepare("interactions", path=log, data_dir=tmp_path / "data", report=report)
    assert "waiting" in said[0] and said[-1].startswith("Wrote")
    assert second.metadata["rows"] == len(LINES)


def test_on_a_disk_without_locks_who_is_slower_takes_it_too(tmp_path, log, another, monkeypatch):
    """Nobody can wait there, so both work, and one finds the place taken."""
    monkeypatch.setattr("data_prep.files.lock", lambda descriptor: None)
    read = SequenceBuilder._write

    def read_slowly(*args):
        read(*args)
        another.stdin.close()
        assert another.wait(60) == 0

    monkeypatch.setattr(SequenceBuilder, "_write", read_slowly)
    said: list[str] = []
    second = prepare("interactions", path=log, data_dir=tmp_path / "data", report=said.append)
    assert said[-1] == f"Reusing {second.builder.data_dir}"
    assert len(list(second.as_dataset("test"))) == 8 and second.metadata["rows"] == len(LINES)
    assert list(second.builder.data_path.parent.iterdir()) == [second.builder.data_path]


def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.store.tfrecords._records", crash)
    with pytest.raises(KeyboardInterrupt):
        prepare("synthetic", synthetic=SMALL, data_dir=tmp_path / "data", report=None)
    assert not (tmp_path / "data").exists()


def test_tfds_load(tmp_path, log):
    rows = tfds.load("synthetic", split="test", data_dir=tmp_path, builder_kwargs=SMALL)
    assert rows.cardinality() == 60
    dataset, info = tfds.load(
        "interactions",
        data_dir=tmp_path,
        with_info=True,
        builder_kwargs={"path": log, "min_interactions": 2},
    )
    assert set(dataset) == {"train", "validation", "test"}
    assert info.metadata["domains"] == ["a", "b"]
    assert set(info.features) == set(dataset["test"].element_spec)
    catalogue = Catalogue.load(tmp_path.joinpath(info.full_name, "items.parquet"))
    assert catalogue.num_items == info.metadata["known_items"]
    # A stranger without our code can read it too.
    assert tfds.builder_from_directory(info.data_dir).info.splits["test"].num_examples == 8
    with pytest.raises(InputError, match="--path is missing"):
        tfds.load("interactions", data_dir=tmp_path)


def test_the_default_config_needs_no_arguments(tmp_path):
    builder = tfds.builder("synthetic", data_dir=tmp_path)
    assert builder.builder_config is Synthetic.BUILDER_CONFIGS[0]
    assert tfds.builder("synthetic", data_dir=tmp_path, seed=1).data_dir != builder.data_dir
    assert pickle.loads(pickle.dumps(builder)).data_dir == builder.data_dir
    assert "10.1145/3626772.3657710" in builder.info.citation


def test_catalogue_round_trip(tmp_path):
    catalogue = Catalogue(
        domains=("a", "empty", "z"),
        item_ids=np.array(["x", "ÿ", "i"], dtype=object),
        item_domains=np.array([0, 0, 2], np.int32),
        counts=np.array([3, 1, 2], np.int64),
    )
    catalogue.save(tmp_path / "items.parquet")
    loaded = Catalogue.load(tmp_path / "items.parquet")
    assert loaded.domains == catalogue.domains
    for name in ("item_ids", "item_domains", "counts"):
        one, two = getattr(loaded, name), getattr(catalogue, name)
        assert one.tolist() == two.tolist() and one.dtype == two.dtype
    assert loaded.sizes.tolist() == [2, 0, 1] and loaded.offsets.tolist() == [1, 3, 3]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"dataset": "netflix"}, "--dataset netflix"),
        ({"dataset": "interactions"}, "--path"),
        ({"dataset": "amazon", "path": "log.csv"}, "--path"),
        ({"dataset": "synthetic", "raw_dir": "raw"}, "--raw_dir"),
        ({"dataset": "synthetic", "columns": {"user_id": "u"}}, "data.columns"),
        ({"dataset": "interactions", "path": "x", "categories": ("Books",)}, "--categories"),
        ({"dataset": "complete_journey", "raw_dir": "raw"}, "--raw_dir"),
        ({"dataset": "complete_journey", "path": "log.csv"}, "--path"),
        ({"dataset": "complete_journey", "categories": ("GROCERY",)}, "--categories"),
        ({"dataset": "complete_journey", "users": 5}, "data.synthetic"),
        ({"dataset": "amazon", "raw_dir": "x", "base_url": "http://x"}, "--base_url"),
        ({"dataset": "synthetic", "seed": -1}, "data.synthetic.seed=-1"),
        ({"dataset": "synthetic", "synthetic": {"users": 0}}, "users"),
        ({"dataset": "synthetic", "synthetic": {"people": 5}}, "people"),
        ({"dataset": "synthetic", "min_interactions": 0}, "min_interactions"),
    ],
)
def test_options_that_do_not_fit(tmp_path, options, word):
    with pytest.raises(InputError) as caught:
        prepare(**options, data_dir=tmp_path / "data", report=None)
    assert word in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_data_dir_that_is_a_file(tmp_path, log):
    with pytest.raises(InputError, match="--data_dir"):
        prepare("synthetic", synthetic=SMALL, data_dir=log, report=None)
    assert log.is_file()


def test_report_and_silence(tmp_path, capfd):
    lines: list[str] = []
    prepare("synthetic", synthetic=SMALL, data_dir=tmp_path / "a", report=lines.append)
    assert any("rows" in line for line in lines) and any("Wrote" in line for line in lines)
    prepare("synthetic", synthetic=SMALL, data_dir=tmp_path / "b", report=None)
    output = capfd.readouterr()
    assert output.out == "" and "examples" not in output.err and "absl" not in output.err


@pytest.mark.slow
def test_the_page_about_python_and_tfds_runs(tmp_path, log):
    log.rename(tmp_path / "shop.csv")
    page = (ROOT / "docs/data.md").read_text()
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.S))
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "['a', 'b'] 8" in run.stdout and (tmp_path / "data" / "interactions").is_dir()


def test_public_names():
    assert set(data_prep.__all__) <= set(dir(data_prep))
    assert callable(build_sequences)
