"""Spark answers everybody as one machine does: the same rows, whole or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep import InputError
from data_prep.log_histories import settled, spark_histories, write_histories
from data_prep.settings import data_config
from tests.recommending.test_everybody import USERS, options, with_log
from tests.support.exporting import TERMS
from tests.support.spark import local_spark
from tf_syncrec import recommend
from tf_syncrec.cli import run_command
from tf_syncrec.recommending import on_spark
from tf_syncrec.recommending.everybody import parts_of
from tf_syncrec.recommending.filters import Choice
from tf_syncrec.recommending.parts import SCHEMA, Request


@pytest.fixture(scope="module")
def spark():
    with local_spark() as engine:
        yield engine


@pytest.fixture(scope="module")
def place(exported, tmp_path_factory):
    """An export in which times have a say, and a log with ties."""
    served = with_log(exported(**TERMS), tmp_path_factory)
    with open(served.log, "a") as log:
        for user in range(0, USERS, 3):  # one time for all of a user's first events
            for item in served.ids[user % 40 : user % 40 + 5]:
                log.write(f"user {user},{item},audio,1700000000\n")
    return served


def rows_of(path):
    """By user, since users come in another order, and rows of one user in that of the file."""
    table = pq.read_table(path)
    assert table.schema.remove_metadata().equals(SCHEMA)
    frame = table.to_pandas()
    starts = frame.user_id != frame.user_id.shift()
    assert starts.sum() == frame.user_id.nunique()  # rows of a user stand together
    return frame.sort_values("user_id", kind="stable").reset_index(drop=True)


def test_the_rows_are_those_of_one_machine(spark, place, tmp_path, capsys):
    more = ["--domains", "música,audio,books", "--k", "3", "--now", "2e9"]
    recommend.main(options(place, tmp_path / "one.parquet", *more))
    capsys.readouterr()
    recommend.main(options(place, tmp_path / "many", "--engine", "spark", *more))
    one, many = rows_of(tmp_path / "one.parquet"), rows_of(tmp_path / "many")
    assert one.user_id.nunique() == USERS and 0 < one.fallback.sum() < len(one)
    assert many.drop(columns="score").equals(one.drop(columns="score"))
    np.testing.assert_allclose(many.score, one.score, atol=1e-4)
    files = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert files == [f"part-{n:05d}.parquet" for n in range(len(files))] and len(files) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many", "one.parquet"]
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("Spark: ")]
    assert said[0].endswith(f" rows of {USERS} users.") and said[1].startswith(f"{USERS} users, ")
    assert said[2:] == [str(tmp_path / "many")]


LOGS = {
    "ties": ["1", "1", "1", "2", "2"],
    "fractions of a second, of which a float loses the order": [
        *("1700000000.000000001", "1700000000.000000002", "1700000000.000000003"),
        *("1700000000.000000001", "-1.5"),
    ],
    "dates": ["2024-06-01", "2024-06-01T00:00:00.5", "2024-05-31", "1969-12-31", "2024-06-01"],
}


@pytest.mark.parametrize("times", LOGS.values(), ids=LOGS)
def test_histories_are_those_of_one_machine(spark, tmp_path, times):
    log = tmp_path / "log.csv"
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(50):
        lines += [f"u{user},é{(user * 7 + n) % 11},d{n},{time}" for n, time in enumerate(times)]
    log.write_text("\n".join([*lines, lines[1]]) + "\n")
    path = tmp_path / "histories.arrow"
    assert write_histories(data_config("interactions", path=str(log)), path) == 50
    with pa.OSFile(str(path)) as file:
        one = pa.ipc.open_file(file).read_all()
    settings = data_config("interactions", path=str(log), engine="spark")
    with spark_histories(settings, tmp_path) as found:
        assert found.users == 50
        batches = found.frame.toArrow().to_batches(max_chunksize=7)
        many = pa.Table.from_batches([settled(batch, found.ticks) for batch in batches])
        latest = max(time for row in one["timestamps"].to_pylist() for time in row)
        assert found.latest == latest
    assert many.schema.equals(one.schema)
    assert many.sort_by("user_id").equals(one.sort_by("user_id"))


def request_of(version):
    return Request(str(version), "digest", {}, ["audio"], 3, "")


def test_what_a_worker_cannot_do_is_told_and_leaves_no_output(spark, place, tmp_path):
    """As where the export is not under the same path on every machine."""
    log = data_config("interactions", path=str(place.log), engine="spark")
    gone, output = tmp_path / "gone" / "1", tmp_path / "recs"
    with pytest.raises(InputError, match=f"the export {gone} cannot be loaded .*under this path"):
        on_spark.recommend_on_spark(request_of(gone), Choice(), log, output, lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["recs.parts"]
    # And the next one is free to go on.
    recommend.main(options(place, output))
    assert [path.name for path in tmp_path.iterdir()] == ["recs"]


def test_answers_that_one_machine_began_are_not_mixed_with_those_of_spark(place, tmp_path):
    log, output = (
        data_config("interactions", path=str(place.log), engine="spark"),
        tmp_path / "recs",
    )
    with parts_of(output) as parts:
        parts.begin(request_of(place.version), Choice())
    with pytest.raises(InputError, match=r"recs\.parts holds output .* without --engine spark"):
        on_spark.recommend_on_spark(request_of(place.version), Choice(), log, output)
    assert parts.request_file.exists() and not output.exists()


@pytest.mark.parametrize(
    ("output", "more", "said"),
    [
        ("r.parquet", [], "r.parquet: with --engine spark it is a folder"),
        ("r", ["--processes", "2"], "--processes 2: belongs to --engine duckdb"),
        ("r", ["--engine", "polars"], "invalid choice: 'polars'"),
        (
            "r",
            ["--engine", "duckdb", "--set", "data.spark_master=local"],
            "data.spark_master=local: belongs to --engine spark",
        ),
    ],
)
def test_what_cannot_be_done_is_told_and_leaves_nothing(
    place, tmp_path, capsys, output, more, said
):
    asked = options(place, tmp_path / output, "--engine", "spark", *more)
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: recommend.main(asked))
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_worker_loads_a_model_once_and_forgets_the_one_before(place, monkeypatch):
    loads = []

    class Model:
        def __init__(self, version: Path, remedy: str):
            loads.append(version.name)

    monkeypatch.setattr("tf_syncrec.recommending.served_model.ServedModel", Model)
    monkeypatch.setattr(on_spark, "_loaded", {})
    pytest.importorskip("pyspark", reason="pyspark is not installed (make spark)")
    found = [on_spark._served(request_of(place.version.with_name(n))) for n in "1121"]
    assert loads == ["1", "2", "1"] and found[0] is found[1] is not found[3]
    assert len(on_spark._loaded) == 1


def test_a_session_of_somebody_else_is_left_as_it_was(spark):
    key = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.session.conf.get(key)
    with pytest.raises(MemoryError), on_spark._small_batches(spark.session):
        assert spark.session.conf.get(key) == str(on_spark.USERS_AT_ONCE) != before
        raise MemoryError
    assert spark.session.conf.get(key) == before


def test_long_histories_are_answered_some_at_a_time(monkeypatch):
    """And none is lost or comes twice."""
    lengths, asked = [3, 40, 1, 1, 120, 7, 0, 99], []
    rows = [
        {"user_id": f"u{n}", "rows": [{"timestamp": 1.0 * t, "item_id": f"i{t}"} for t in range(k)]}
        for n, k in enumerate(lengths)
    ]
    event = pa.struct({"timestamp": pa.float64(), "item_id": pa.string()})
    schema = pa.schema({"user_id": pa.string(), "rows": pa.list_(event)})
    batch = pa.RecordBatch.from_pylist(rows, schema=schema)

    def answered(served, request, choice, now, users):
        asked.append(users["user_id"].to_pylist())
        assert [len(items) for items in users["items"].to_pylist()] == [
            lengths[int(user[1:])] for user in asked[-1]
        ]
        return SCHEMA.empty_table()

    monkeypatch.setattr(on_spark, "BATCH", 100)
    monkeypatch.setattr(on_spark, "_served", lambda request: None)
    monkeypatch.setattr("tf_syncrec.recommending.everybody.answered", answered)
    list(
        on_spark._Answer(request_of("x"), Choice(), 0.0, 1)(
            iter([batch.slice(1), batch.slice(0, 1)])
        )
    )
    assert asked == [["u1", "u2", "u3"], ["u4"], ["u5", "u6"], ["u7"], ["u0"]]
