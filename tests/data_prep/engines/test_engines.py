"""DuckDB and Spark give the same bytes."""

import gzip
import hashlib
import importlib.util
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError, prepare
from data_prep.engines import duckdb
from data_prep.engines.spark import connect
from data_prep.read.datasets import complete_journey
from tests.support.complete_journey import SECOND, products, transactions, write_package
from tests.support.spark import local_spark

DATA = Path(__file__).parents[4] / "shared" / "data"
COLUMNS = ("user_id", "item_id", "domain", "timestamp")
BAD = ["u1,i1,a,soon", 'u2,"i2,a,3', "u3,,a,4", "u4,i4,a", "u5,i5\0,b,5"]


@pytest.fixture(scope="module")
def spark():
    """One session for all; `prepare` joins it."""
    with local_spark() as engine:
        yield engine


def log(seed=0, rows=3000):
    """Rows with ties in time, doubles, items of two domains, and letters of several scripts."""
    rng = random.Random(seed)
    names = ["a", "b", "Ä", "文"]
    lines = []
    for _ in range(rows):
        item = rng.randrange(150)
        domain = names[item % 4] if rng.random() < 0.9 else rng.choice(names)
        lines.append((f"u{rng.randrange(120)}", f"i{item}é", domain, rng.randrange(40) / 4))
    return lines + lines[:50]


def write_folder(folder):
    """The log in files of four shapes, bad rows among them."""
    rows = log()
    quarter = len(rows) // 4
    parts = [rows[n * quarter : (n + 1) * quarter] for n in range(4)]
    lines = [[",".join(map(str, row)) for row in part] for part in parts]
    header = ",".join(COLUMNS)
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join([header, *lines[0]]))
    (folder / "b.csv").write_text("\n".join([header, *lines[1][:99], *BAD, *lines[1][99:]]))
    text = "\n".join([header, *lines[2]]).replace(",", "\t")
    (folder / "c.tsv.gz").write_bytes(gzip.compress(text.encode()))
    columns = dict(zip(COLUMNS, map(list, zip(*parts[3], strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "d.parquet", row_group_size=100)
    return folder


def digests(prepared):
    """Everything that was written, but for TFDS's own notes, which have times of writing."""
    own = ("dataset_info.json", "features.json")
    files = [p for p in Path(prepared.builder.data_dir).iterdir() if p.name not in own]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def both(tmp_path, dataset, **options):
    prepared = [
        prepare(dataset, data_dir=tmp_path / engine, engine=engine, report=None, **options)
        for engine in ("duckdb", "spark")
    ]
    one, two = map(digests, prepared)
    assert one == two and len(one) >= 7
    assert prepared[0].metadata == prepared[1].metadata
    return prepared[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"min_interactions": 3, "min_domains": 2},
        {"split": "global_time"},
        {"split": "global_time", "min_interactions": 3},
    ],
    ids=["k_core", "global_time", "global_time_k_core"],
)
def test_generated_data(tmp_path, spark, options):
    prepared = both(tmp_path, "interactions", path=write_folder(tmp_path / "log"), **options)
    assert sum(prepared.metadata["quarantine"]["reasons"].values()) == len(BAD)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["leave_one_out", "global_time"])
def test_values_of_all_types(tmp_path, spark, split):
    """Nanoseconds, dates as text, blanks, float ids: in files that differ in their types."""
    folder = write_folder(tmp_path / "user_id=42")
    rows = [(n % 9, f"i{n % 7}é ", "aÄ"[n % 2], 1_704_448_800 * 10**9 + n) for n in range(60)]
    users, items, domains, times = map(list, zip(*rows, strict=True))
    columns = {"user_id": [float(user) for user in users], "item_id": items, "domain": domains}
    columns |= {"timestamp": pa.array(times, pa.timestamp("ns", "Asia/Tokyo"))}
    pq.write_table(pa.table(columns), folder / "e.parquet")
    columns |= {"user_id": users, "item_id": [item.encode() for item in items]}
    columns |= {"timestamp": [f"2024-01-05T10:00:00.{n:09d}+00:00" for n in range(60)]}
    pq.write_table(pa.table(columns), folder / "f.parquet")
    prepared = both(tmp_path, "interactions", path=folder, split=split)
    told = prepared.data_card
    assert told["reading"] == {"trimmed": 120, "dated": 120, "from_float": 60}
    # The second file says what the first one does.
    assert told["rows"]["repeated"] >= 60 and told["rows"]["kept"] > 60


@pytest.mark.slow
def test_the_complete_journey(tmp_path, spark, monkeypatch):
    rng = random.Random(0)
    times = [rng.randrange(500) * SECOND for _ in range(2000)]
    bought = [(rng.randrange(50), rng.randrange(80), rng.randrange(3), t) for t in times]
    departments = {product: "DELI" if product % 3 else "MEAT" for product in range(75)}
    write_package(tmp_path / "site", transactions(bought), products(departments))
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(complete_journey, "MIN_DEPARTMENT_ROWS", 100)
    prepared = both(tmp_path, "complete_journey")
    assert prepared.metadata["domains"] == ["DELI", "MEAT"]


@pytest.mark.slow
def test_real_data(tmp_path, spark):
    if not DATA.is_dir():
        pytest.skip("../shared/data is absent")
    both(tmp_path, "amazon", raw_dir=DATA / "amazon_paper_categories_sample")


@pytest.mark.slow
def test_a_session_that_was_there_stays(spark):
    with connect() as engine:
        assert engine.session is spark.session
    assert spark.value(spark.table(pa.table({"x": [1, 2]})).count()) == 2


def test_without_pyspark_or_java(tmp_path, monkeypatch):
    options: dict = {"data_dir": tmp_path / "data", "engine": "spark", "report": None}
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyspark.sql", None)
        patch.setitem(sys.modules, "pyspark.errors", None)
        with pytest.raises(InputError, match=r"--engine spark: pyspark .*make spark"):
            prepare("synthetic", **options)
    if importlib.util.find_spec("pyspark") is not None:
        monkeypatch.setattr("data_prep.engines.spark.java_found", lambda: False)
        monkeypatch.setattr("pyspark.sql.SparkSession.getActiveSession", lambda: None)
        with pytest.raises(InputError, match="--engine spark: there is no Java"):
            prepare("synthetic", **options)
    assert not (tmp_path / "data").exists()


def test_options_of_engines(tmp_path):
    cases: list[tuple[dict, str]] = [
        ({"engine": "polars"}, "--engine polars"),
        ({"spark_master": "local"}, "spark_master"),
    ]
    for options, word in cases:
        with pytest.raises(InputError, match=word):
            prepare("synthetic", data_dir=tmp_path / "data", report=None, **options)
    assert not (tmp_path / "data").exists()


def test_duckdb_prints_no_bar_of_its_own(capfd):
    with duckdb.connect(threads=1) as engine:
        engine.backend.raw_sql("SET progress_bar_time = 1")  # ms
        engine.backend.con.sql(
            "SELECT count(*) FROM range(200000000) t(i) WHERE i % 7 = 3"
        ).fetchall()
    assert capfd.readouterr().out == ""
