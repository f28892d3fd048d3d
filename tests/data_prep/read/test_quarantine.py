"""Bad rows: listed, counted, and too many of them stop the run."""

import gzip
import json

import pytest

from data_prep import InputError, prepare
from data_prep.read.text_records import CUT_OFF

HEADER = "user_id,item_id,domain,timestamp"
GOOD = [f"u{n % 20},i{n % 13},{'ab'[n % 13 % 2]},{n}" for n in range(396)]
BAD = ["u1,i1,a,tomorrow", "u2,,b,7", "u3,i3,c", "u4,i4,a,later"]


@pytest.fixture
def log(tmp_path):
    """396 good rows and 4 bad ones: one in a hundred."""
    lines = GOOD[:]
    for place, line in zip((300, 200, 100, 0), reversed(BAD), strict=True):
        lines.insert(place, line)
    path = tmp_path / "log.csv"
    path.write_text("\n".join([HEADER, *lines]))
    return path


def run(log, data_dir, **options):
    return prepare("interactions", path=log, data_dir=data_dir, **({"report": None} | options))


def listed(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(prepared):
    rows = prepared.as_dataset("test").as_numpy_iterator()
    return [(r["user_id"], r["items"].tolist(), r["target"]) for r in rows]


def test_bad_rows_are_listed_and_counted(tmp_path, log):
    said: list[str] = []
    prepared = run(log, tmp_path / "data", report=said.append)
    assert prepared.metadata["rows"] == len(GOOD)
    found = prepared.metadata["quarantine"]
    assert found["rows"] == 400 and sum(found["reasons"].values()) == 4
    entries = listed(prepared.builder.data_path / "quarantine.jsonl")
    assert [entry["row"] for entry in entries] == BAD
    lines = log.read_text().splitlines()
    assert [lines[entry["line"] - 1] for entry in entries] == BAD
    assert {entry["file"] for entry in entries} == {str(log)}
    reasons = [entry["reason"] for entry in entries]
    assert found["reasons"] == {reason: reasons.count(reason) for reason in reasons}
    assert any("4 bad rows" in line for line in said)


def test_the_rest_is_what_it_would_be_without_them(tmp_path, log):
    prepared = run(log, tmp_path / "data")
    log.write_text("\n".join([HEADER, *GOOD]))
    clean = run(log, tmp_path / "data")
    assert clean.builder.data_dir != prepared.builder.data_dir
    assert not (clean.builder.data_path / "quarantine.jsonl").exists()
    assert rows_of(clean) == rows_of(prepared)


def test_too_many_stop_the_run_and_are_listed(tmp_path, log):
    with pytest.raises(InputError) as caught:
        run(log, tmp_path / "data", max_bad_share=0.009)
    (path,) = (tmp_path / "data" / "quarantine").iterdir()
    assert [entry["row"] for entry in listed(path)] == BAD
    assert not (tmp_path / "data" / "interactions").exists()
    message = str(caught.value)
    for word in (f"{log}: line 2: ", "4 of 400", "data.max_bad_share=0.009", str(path), BAD[0]):
        assert word in message
    assert "\n" not in message


def test_the_share_decides_nothing_but_whether_it_stops(tmp_path, log):
    first = run(log, tmp_path / "data")
    assert run(log, tmp_path / "data", max_bad_share=0.5).builder.data_dir == first.builder.data_dir
    with pytest.raises(InputError, match=r"4 of 400.*quarantine\.jsonl"):
        run(log, tmp_path / "data", max_bad_share=0)
    assert first.builder.data_path.exists()


def test_a_damaged_gzip_file_stops_unless_everything_is_allowed(tmp_path):
    path = tmp_path / "log.csv.gz"
    lines = [f"u{n % 200},i{n * 7919 % 907},{'ab'[n * 7919 % 907 % 2]},{n}" for n in range(20_000)]
    path.write_bytes(gzip.compress("\n".join([HEADER, *lines]).encode())[:-4000])
    with pytest.raises(InputError, match="1 × gzip data that is damaged"):
        run(path, tmp_path / "data", max_bad_share=0.9)
    prepared = run(path, tmp_path / "data", max_bad_share=1)
    assert 10_000 < prepared.metadata["rows"] < 20_000
    assert prepared.metadata["quarantine"]["reasons"] == {CUT_OFF: 1}


def test_a_log_of_bad_rows_alone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\n".join([HEADER, *BAD]))
    with pytest.raises(InputError, match="4 of 4"):
        run(path, tmp_path / "data")
    with pytest.raises(InputError, match=r"log\.csv: has no usable rows"):
        run(path, tmp_path / "data", max_bad_share=1)


@pytest.mark.parametrize("share", [-0.1, 1.5, "0.1", True, float("nan")])
def test_shares_that_are_none(tmp_path, log, share):
    with pytest.raises(InputError, match=r"data\.max_bad_share"):
        run(log, tmp_path / "data", max_bad_share=share)
