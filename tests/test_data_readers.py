"""A user's own files: every shape that is read, and every fault that is named."""

import datetime
import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.engine import connect
from data_prep.errors import InputError
from data_prep.readers import read_interactions, user_sources

HEADER = "user_id,item_id,domain,timestamp"
GOOD = [("u1", "i1", "a", 1.5), ("u2", "i2", "b", 1_400_000_000_123.0)]


def read(path, columns=None):
    with connect() as connection:
        rows = read_interactions(connection, user_sources(path, columns))
        names = ("user_id", "item_id", "domain", "timestamp")
        return sorted(tuple(r[n] for n in names) for r in connection.to_pyarrow(rows).to_pylist())


def write(path, *lines, end="\n"):
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def body(separator=","):
    return [separator.join(map(str, row)) for row in GOOD]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_shapes(tmp_path, separator, end):
    header = HEADER.replace(",", separator)
    path = write(tmp_path / "log.csv", "\ufeff" + header, *body(separator), "", end=end)
    assert read(path) == GOOD


def test_gzip_is_told_by_content(tmp_path):
    text = "\n".join([HEADER, *body()]).encode()
    for name in ("log.csv.gz", "log.csv"):
        (tmp_path / name).write_bytes(gzip.compress(text))
        assert read(tmp_path / name) == GOOD


def test_renamed_extra_and_reordered_columns(tmp_path):
    lines = [f"{t},x,{u},{i},{d}" for u, i, d, t in GOOD]
    path = write(tmp_path / "log.csv", "when,note,user_id,item,domain", *lines)
    assert read(path, {"timestamp": "when", "item_id": "item"}) == GOOD


def test_folder_glob_and_mixed_shapes(tmp_path):
    write(tmp_path / "one.csv", HEADER, body()[0])
    write(tmp_path / "b[1].tsv", HEADER.replace(",", "\t"), body("\t")[1])
    write(tmp_path / "_SUCCESS.csv")
    write(tmp_path / "notes.md", "no data")
    assert read(tmp_path) == GOOD
    assert read(tmp_path / "o*.csv") == GOOD[:1]


def test_quoted_fields_keep_separators(tmp_path):
    path = write(tmp_path / "log.csv", HEADER, '"a,b","say ""hi""",d,1', "u,i,e,2")
    assert ("a,b", 'say "hi"', "d", 1.0) in read(path)


def test_parquet_types(tmp_path):
    moments = [
        datetime.datetime(2020, 1, 1, 0, 0, 1, 600_000),
        datetime.datetime(1969, 12, 31, 23, 59, 58, 400_000),
    ]
    for unit in ("ms", "us", "ns"):
        table = pa.table(
            {
                "user_id": [1, 2],
                "item_id": pa.array(["i", "j"]).dictionary_encode(),
                "domain": ["a", "b"],
                "timestamp": pa.array(moments, pa.timestamp(unit)),
            }
        )
        pq.write_table(table, tmp_path / "log.parquet")
        assert read(tmp_path / "log.parquet") == [
            ("1", "i", "a", 1577836801.6),
            ("2", "j", "b", -1.6),
        ]


def test_parquet_dates_and_zones(tmp_path):
    zoned = pa.array([datetime.datetime(2020, 1, 1)], pa.timestamp("us", "Europe/Paris"))
    for times in (pa.array([datetime.date(2020, 1, 1)]), zoned, pa.array([1577836800])):
        table = pa.table({"user_id": ["u"], "item_id": ["i"], "domain": ["d"], "timestamp": times})
        pq.write_table(table, tmp_path / "log.parquet")
        assert read(tmp_path / "log.parquet") == [("u", "i", "d", 1577836800.0)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("u,i,d,yesterday", ["line 3", "'yesterday'", "timestamp"]),
        ("u,i,d,nan", ["line 3", "'nan'"]),
        ("u,i,d,inf", ["line 3", "'inf'"]),
        ("u,i,d,", ["line 3", "empty timestamp"]),
        (",i,d,1", ["line 3", "empty user_id"]),
        ("u, ,d,1", ["line 3", "empty item_id"]),
        ('u,i,"",1', ["line 3", "empty domain"]),
        ("u,i,1", ["line 3", "3 fields", "4 are expected"]),
        ("u,i,d,1,2", ["line 3", "5 fields", "4 are expected"]),
        ('u,"i,d,1', ["line 3", "quot"]),
        ('u,"i"x,d,1', ["line 3", "quot"]),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, words):
    path = write(tmp_path / "log.csv", HEADER, body()[0], line, body()[1])
    for file in (path, tmp_path / "log.csv.gz"):
        if file != path:
            file.write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(InputError) as caught:
            read(file)
        message = str(caught.value)
        assert "\n" not in message
        assert all(word in message for word in [str(file), *words]), message


def test_line_numbers_count_quoted_line_ends_and_blank_lines(tmp_path):
    path = write(tmp_path / "log.csv", HEADER, '"u\nv",i,d,1', "", "u,i,d,soon")
    with pytest.raises(InputError, match=r"line 5 .*'soon'"):
        read(path)


def test_a_bad_line_far_down(tmp_path):
    lines = [f"u{n},i{n},d,{n}" for n in range(60_000)]
    path = write(tmp_path / "log.csv", HEADER, *lines, "u,i,d,late")
    with pytest.raises(InputError, match=r"line 60002 .*'late'"):
        read(path)


def test_a_bad_parquet_row_is_named(tmp_path):
    columns = {"user_id": ["u", "v"], "item_id": ["i", "j"], "domain": ["a", "b"]}
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(columns | {"timestamp": [1.0, float("nan")]}), path)
    with pytest.raises(InputError, match=r"row 2 .*'nan'"):
        read(path)
    pq.write_table(pa.table(columns | {"timestamp": [1, 2], "item_id": ["i", None]}), path)
    with pytest.raises(InputError, match=r"row 2 .*empty item_id"):
        read(path)


def test_missing_column(tmp_path):
    path = write(tmp_path / "log.csv", "user,item_id,domain,timestamp", *body())
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    for word in (str(path), "'user_id'", "user, item_id, domain", "--set data.columns.user_id="):
        assert word in message
    with pytest.raises(InputError, match=r"data.columns.who"):
        read(path, {"who": "user"})


def test_files_that_are_no_logs(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no data file"):
        read(tmp_path)
    with pytest.raises(InputError, match="is empty"):
        read(write(tmp_path / "empty.csv"))
    with pytest.raises(InputError, match="no rows"):
        read(write(tmp_path / "header.csv", HEADER, ""))
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\nu,i,d,1\n".encode() + b"u,caf\xe9,d,2\n")
    with pytest.raises(InputError, match="line 3 is not UTF-8"):
        read(tmp_path / "latin.csv")
    (tmp_path / "log.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(InputError, match="zip"):
        read(tmp_path / "log.zip")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(InputError, match="Parquet"):
        read(tmp_path / "log.parquet")


def test_damaged_gzip(tmp_path):
    text = "\n".join([HEADER, *(f"u{n},i{n * 7919 % 10007},d,{n}" for n in range(50_000))]).encode()
    whole = gzip.compress(text)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="gzip data is damaged or cut off"):
        read(tmp_path / "cut.csv.gz")
    (tmp_path / "short.csv.gz").write_bytes(whole[:20])
    with pytest.raises(InputError, match="gzip data is damaged"):
        read(tmp_path / "short.csv.gz")
