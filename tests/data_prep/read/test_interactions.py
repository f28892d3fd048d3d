"""A user's own files: every shape that is read, and every row that is set aside."""

import datetime
import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.engines.connection import connect
from data_prep.errors import InputError
from data_prep.read.interactions import read_interactions
from data_prep.read.sources import user_sources
from data_prep.read.text_records import CUT_OFF

HEADER = "user_id,item_id,domain,timestamp"
NO_TIME = "timestamp that is no number or ISO 8601 date"
GOOD = [("u1", "i1", "a", 1.5), ("u2", "i2", "b", 1_400_000_000_123.0)]


def read_all(path, columns=None):
    """Good rows, and bad ones as `(file name, line, reason, text)`."""
    with connect() as engine:
        reading = read_interactions(engine, user_sources(path, columns))
        rows = engine.fetch(reading.rows).select(["user_id", "item_id", "domain", "timestamp"])
        good = sorted(tuple(row.values()) for row in rows.to_pylist())
        if reading.bad is None:
            return good, []
        bad = engine.fetch(reading.bad.order_by("source", "line")).to_pylist()
        names = [label.rpartition("/")[2] for label in reading.labels]
        return good, [(names[r["source"]], r["line"], r["reason"], r["text"]) for r in bad]


def read(path, columns=None):
    good, bad = read_all(path, columns)
    assert not bad
    return good


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


@pytest.mark.parametrize("meant", ["", "*"])
def test_what_lies_beside_the_data_is_passed_over(tmp_path, meant):
    write(tmp_path / "part-0.csv", HEADER, *body())
    others = ["_SUCCESS", ".part-0.csv.crc", "part-0.csv.crc", "part-0.csv.md5", "_started.csv"]
    others += ["README", "Readme.txt", "README.en.md", "LICENSE", "CHANGELOG.md", ".DS_Store"]
    for name in others:
        write(tmp_path / name, "no data")
    (tmp_path / "_temporary").mkdir()
    assert read(f"{tmp_path}/{meant}") == GOOD
    # Who names one of them means it.
    with pytest.raises(InputError, match="README: has no column 'user_id'"):
        read(tmp_path / "README")
    with pytest.raises(InputError, match=r"_started\.csv: has no column 'user_id'"):
        read(tmp_path / "_*.csv")


@pytest.mark.parametrize("meant", ["", "*"])
def test_another_text_in_the_folder_is_named(tmp_path, meant):
    write(tmp_path / "log.csv", HEADER, *body())
    write(tmp_path / "columns.txt", "what the columns mean", "user_id is who")
    with pytest.raises(InputError, match=r"columns\.txt: has no column 'user_id'"):
        read(f"{tmp_path}/{meant}")


def test_parts_without_rows_are_passed_over(tmp_path):
    """Spark writes them, with a header or without."""
    write(tmp_path / "part-0.csv")
    write(tmp_path / "part-1.csv", HEADER)
    with pytest.raises(InputError, match=r"part-0\.csv: the file is empty"):
        read(tmp_path)
    write(tmp_path / "part-2.csv", HEADER, *body())
    table = pa.table({"user_id": ["u"], "item_id": ["i"], "domain": ["d"], "timestamp": [1]})
    pq.write_table(table.slice(1), tmp_path / "part-3.parquet")
    assert read(tmp_path) == GOOD


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_nothing_is_taken_from_the_names_of_folders(tmp_path, form):
    folder = tmp_path / "user_id=42" / "domain=x" / "timestamp=2024" / "note=y"
    folder.mkdir(parents=True)
    table = pa.table(dict(zip(HEADER.split(","), zip(*GOOD, strict=True), strict=True)))
    for number in (1, 2):
        if form == "csv":
            write(folder / f"{number}.csv", HEADER, *body())
        else:
            pq.write_table(table, folder / f"{number}.parquet")
    assert read(folder / f"1.{form}") == GOOD
    assert read(tmp_path / "**" / f"*.{form}") == sorted(2 * GOOD)


def test_columns_of_parquet_are_found_by_their_exact_names(tmp_path):
    """In case, and beside names that an engine uses itself."""
    columns: dict = {"user_id": ["u", "v"], "User_ID": ["x", "x"], "item_id": ["i", "j"]}
    columns |= {"domain": ["a", ""], "timestamp": [1, 2], "DOMAIN": ["x", "x"]}
    reserved = (
        "user_id ",
        "file_row_number",
        "filename",
        "file_index",
        "rowid",
        "raw_user_id",
        "number",
    )
    columns |= {name: [7, 7] for name in reserved}
    for name in ("a.parquet", "b.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name)
    assert read_all(tmp_path) == (
        [("u", "i", "a", 1.0)] * 2,
        [(name, 2, "empty domain", "v,j,,2") for name in ("a.parquet", "b.parquet")],
    )


def test_bad_rows_of_parquet_files_are_numbered_in_their_order(tmp_path):
    rows = 30_000
    columns: dict = {"user_id": [f"u{n}" for n in range(rows)], "item_id": ["i"] * rows}
    columns |= {"domain": ["d"] * rows, "timestamp": [float(n) for n in range(rows)]}
    for places, name in (([5, 29_999], "a.parquet"), ([17_000], "b.parquet")):
        times = [float("nan") if n in places else n for n in columns["timestamp"]]
        table = pa.table(columns | {"timestamp": times})
        pq.write_table(table, tmp_path / name, row_group_size=1000)
    good, bad = read_all(tmp_path)
    assert len(good) == 2 * rows - 3
    assert [row[:2] for row in bad] == [
        ("a.parquet", 6),
        ("a.parquet", 30_000),
        ("b.parquet", 17_001),
    ]


def test_not_a_number_is_never_a_time(tmp_path):
    """DuckDB trusts the statistics of a Parquet file, and these leave it out."""
    columns = {"user_id": ["u", "v"], "item_id": ["i", "j"], "domain": ["a", "b"]}
    for name, times in (("a.parquet", [1.0, float("nan")]), ("b.parquet", [1.0, 2.0])):
        pq.write_table(pa.table(columns | {"timestamp": times}), tmp_path / name)
    good, bad = read_all(tmp_path)
    assert len(good) == 3 and [row[:2] for row in bad] == [("a.parquet", 2)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_lines_of_blanks_are_no_rows(tmp_path, end):
    lines = ["", "  ", "\t", HEADER, body()[0], " \u3000", "", body()[1], "   "]
    assert read(write(tmp_path / "log.csv", *lines, end=end)) == GOOD


@pytest.mark.parametrize("end", ["\r", "\n"])
def test_blanks_at_an_end_are_no_part_of_a_name_or_a_value(tmp_path, end):
    lines = [" user_id , item_id,domain\u00a0, timestamp", "u1, i1,a , 1.5", '"u2 ","i2",b,14e2']
    rows = [("u1", "i1", "a", 1.5), ("u2", "i2", "b", 1400.0)]
    assert read(write(tmp_path / "log.csv", *lines, end=end)) == rows
    ids = {" user_id": ["u1 ", "u2"], "item_id": [" i1", "i2"], "domain ": ["a\u3000", "b"]}
    pq.write_table(pa.table(ids | {"timestamp": [1.5, 1400.0]}), tmp_path / "log.parquet")
    assert read(tmp_path / "log.parquet") == rows


NAMES = [
    os.fsdecode(b"\xff"),
    *("a:b", "s3:x", "b\\c[1]", "~x", "-n", "{a,b}", "%41", "x?y=1&z", "a\nb"),
]


@pytest.mark.parametrize("form", ["csv", "bad.csv", "parquet", "bad.parquet", "int96"])
def test_a_file_may_have_any_name(tmp_path, monkeypatch, form):
    """Also one that somebody takes for a pattern, an address, a user's folder, or for no text."""
    monkeypatch.chdir(tmp_path)
    suffix = form.replace("int96", "parquet")
    user, text = "" if form.startswith("bad") else "u", suffix.endswith("csv")
    columns = {"user_id": [user], "item_id": ["i"], "domain": ["d"]}
    table = pa.table(columns | {"timestamp": pa.array([10**9], pa.timestamp("ns"))})
    for name in NAMES:
        path = Path(f"{name}.{suffix}")
        if text:
            write(path, HEADER, f"{user},i,d,1")
        else:
            with path.open("wb") as file:
                old = form == "int96"
                pq.write_table(table, file, use_deprecated_int96_timestamps=old)
        assert len(user_sources(f"./{path}")) == 1
    for meant in ("*", tmp_path):
        good, bad = read_all(meant)
        assert good == [("u", "i", "d", 1.0)] * (user != "") * len(NAMES)
        expected = [(1 + text, "empty user_id")] * (user == "") * len(NAMES)
        assert [row[1:3] for row in bad] == expected
        assert all(row[0].encode() for row in bad)


@pytest.mark.parametrize("note", ["a;b;c;d;e", "\t,\t,\t,\t,\t", 'size"', "two\nlines", "a\r\nb"])
@pytest.mark.parametrize(("separator", "end"), [(",", "\n"), ("\t", "\r\n"), (";", "\r")])
def test_names_of_other_columns_do_not_matter(tmp_path, note, separator, end):
    """They hold more separators than separate, or line ends, behind which DuckDB reads nothing."""
    field = '"' + note.replace('"', '""') + '"'
    for place in (0, 4):
        lines: list[str] = []
        for row in (HEADER.split(","), *GOOD):
            values = [*map(str, row)]
            values.insert(place, "x" if lines else field)
            lines.append(separator.join(values))
        write(tmp_path / f"{place}.csv", *lines, end=end)
        write(tmp_path / f"{place} with mark.csv", "\ufeff" + lines[0], *lines[1:], end=end)
    assert read(tmp_path) == sorted(4 * GOOD)


def test_names_with_more_separators_unquoted(tmp_path):
    lines = [f"{u},{i},{d},{t},x" for u, i, d, t in GOOD]
    path = write(tmp_path / "log.csv", HEADER + ",a;b;c;d;e;f", *lines)
    assert read(path) == GOOD


@pytest.mark.parametrize("blanks", [" ", "  ", "\t", "\u3000 "])
@pytest.mark.parametrize("last", ["1.5", "soon"])
def test_blanks_beside_quotes_are_no_part_of_a_field(tmp_path, blanks, last):
    """Neither of a bad row's file, which is read by line, nor of one that DuckDB takes."""

    def line(fields):
        return ",".join(f'{blanks}"{field}"{blanks}' for field in fields)

    ids = ["u,1", 'say ""hi""', "d"]
    rows = [line([*ids, 1.5]), line([*ids, last]), "u,1,d,2"]
    path = write(tmp_path / "log.csv", line(HEADER.split(",")), *rows)
    good, bad = read_all(path)
    assert good == [("u", "1", "d", 2.0)] + [("u,1", 'say "hi"', "d", 1.5)] * (2 - len(bad))
    assert [row[1:3] for row in bad] == [(3, NO_TIME)] * (last == "soon")


def test_a_column_is_asked_for_with_blanks_or_without(tmp_path):
    path = write(tmp_path / "log.csv", HEADER.replace("user_id", " who "), *body())
    columns = {"item_id": ["i1", "i2"], "domain": ["a", "b"], "timestamp": [r[3] for r in GOOD]}
    pq.write_table(pa.table({" who ": ["u1", "u2"]} | columns), tmp_path / "log.parquet")
    for name in ("who", " who ", "who\t"):
        assert read(path, {"user_id": name}) == GOOD
        assert read(tmp_path / "log.parquet", {"user_id": name}) == GOOD


def test_parquet_names_may_differ_in_blanks(tmp_path):
    for number, name in enumerate(("user_id", " user_id", "user_id ")):
        columns = {name: ["u"], "item_id": ["i"], "domain": ["d"], "timestamp": [1.0]}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    assert read(tmp_path) == [("u", "i", "d", 1.0)] * 3


def test_a_line_that_is_no_header(tmp_path):
    with pytest.raises(InputError, match=r"log\.csv: line 1 is no line of.*field limit"):
        read(write(tmp_path / "log.csv", "u" * 200_000, *body()))


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
    ("line", "reason"),
    [
        ("u,i,d,yesterday", "timestamp that is no number or ISO 8601 date"),
        ("u,i,d,nan", "timestamp that is no number or ISO 8601 date"),
        ("u,i,d,inf", "timestamp out of range"),
        ("u,i,d,-1e30", "timestamp out of range"),
        ("u,i,d,9223372036854775808", "timestamp out of range"),
        ("u,i,d,", "empty timestamp"),
        (",i,d,1", "empty user_id"),
        ("u, ,d,1", "empty item_id"),
        ('u,i,"",1', "empty domain"),
        ("u,i\0,d,1", "item_id with a NUL byte"),
        ("u,i,1", "3 fields where 4 are expected"),
        ("u,i,d,1,2", "5 fields where 4 are expected"),
        ('u,"i,d,1', "broken quoting"),
        ('u,"i"x,d,1', "broken quoting"),
    ],
)
def test_a_bad_line_is_set_aside(tmp_path, line, reason):
    path = write(tmp_path / "log.csv", HEADER, body()[0], line, body()[1])
    for file in (path, tmp_path / "log.csv.gz"):
        if file != path:
            file.write_bytes(gzip.compress(path.read_bytes()))
        assert read_all(file) == (GOOD, [(file.name, 3, reason, line)])


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "log.csv"
    lines = [HEADER + ",note", "u,caf\xe9,d,2,x", body()[0] + ",caf\xe9", body()[1] + ",x"]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    # Of the note nothing is used, so it may hold anything.
    bad = [("log.csv", 2, "item_id that is not UTF-8", "u,caf\\xe9,d,2,x")]
    assert read_all(path) == (GOOD, bad)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_another_encoding_is_named(tmp_path, codec):
    path = tmp_path / "log.csv"
    mark = "" if codec == "utf-16" else "\ufeff"
    path.write_text(mark + "\n".join([HEADER, *body()]), codec)
    with pytest.raises(InputError, match=r"log.csv: is written in UTF-16; write it as UTF-8"):
        read_all(path)


def test_line_numbers_count_quoted_line_ends_and_blank_lines(tmp_path):
    lines = [HEADER, '"u\nv",i,d,1', "", "u,i,d,soon", '"open,i,d,1', "", "u,i,d,later"]
    path = write(tmp_path / "log.csv", *lines)
    good, bad = read_all(path)
    assert good == [("u\nv", "i", "d", 1.0)]
    assert [(line, text) for _, line, _, text in bad] == [
        (5, "u,i,d,soon"),
        (6, '"open,i,d,1'),
        (8, "u,i,d,later"),
    ]


def test_bad_lines_far_down_and_in_several_files(tmp_path):
    lines = [f"u{n},i{n},d,{n}" for n in range(60_000)]
    write(tmp_path / "a.csv", HEADER, *lines, "u,i,d,late")
    write(tmp_path / "b.csv", HEADER, *lines[:5])
    write(tmp_path / "c.csv", HEADER, '"', *lines[:5], '"')
    good, bad = read_all(tmp_path)
    assert len(good) == 60_010
    assert [row[:2] for row in bad] == [("a.csv", 60_002), ("c.csv", 2), ("c.csv", 8)]


def test_bad_parquet_rows_are_set_aside(tmp_path):
    columns = {"user_id": ["u", "v", "w"], "item_id": ["i", "j", ""], "domain": ["a", "b", "c"]}
    times = [1.0, float("nan"), 3.0]
    pq.write_table(pa.table(columns | {"timestamp": times}), tmp_path / "a.parquet")
    good = {"user_id": ["x"], "item_id": ["k"], "domain": ["a"], "timestamp": [4.0]}
    pq.write_table(pa.table(good), tmp_path / "b.parquet")
    pq.write_table(pa.table(columns | {"timestamp": [None, 2.0, 3.0]}), tmp_path / "c.parquet")
    assert read_all(tmp_path) == (
        [("u", "i", "a", 1.0), ("v", "j", "b", 2.0), ("x", "k", "a", 4.0)],
        [
            ("a.parquet", 2, "timestamp that is no number or ISO 8601 date", "v,j,b,nan"),
            ("a.parquet", 3, "empty item_id", "w,,c,3.0"),
            ("c.parquet", 1, "empty timestamp", "u,i,a,"),
            ("c.parquet", 3, "empty item_id", "w,,c,3.0"),
        ],
    )


def test_a_damaged_parquet_file_is_named(tmp_path):
    columns = {"user_id": ["u"] * 5000, "item_id": [f"i{n}" for n in range(5000)]}
    columns |= {"domain": ["d"] * 5000, "timestamp": [str(n) for n in range(5000)]}
    for name in ("a.parquet", "b.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name)
    data = bytearray((tmp_path / "b.parquet").read_bytes())
    data[4:2000] = b"\xff" * 1996
    (tmp_path / "b.parquet").write_bytes(data)
    with pytest.raises(InputError, match=r"b\.parquet: cannot be read"):
        read_all(tmp_path)


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
    (tmp_path / "latin.csv").write_bytes(b"user_id,item_id,domain,caf\xe9\nu,i,d,1")
    with pytest.raises(InputError, match=r"'timestamp'.*domain, caf\\xe9"):
        read(tmp_path / "latin.csv")
    (tmp_path / "log.zip").write_bytes(b"PK\x03\x04rest")
    with pytest.raises(InputError, match="zip"):
        read(tmp_path / "log.zip")
    (tmp_path / "log.parquet").write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(InputError, match="Parquet"):
        read(tmp_path / "log.parquet")


def test_damaged_gzip(tmp_path):
    lines = [f"u{n},i{n * 7919 % 10007},d,{n}" for n in range(50_000)]
    whole = gzip.compress("\n".join([HEADER, *lines]).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    good, ((_, line, reason, text),) = read_all(tmp_path / "cut.csv.gz")
    assert 10_000 < len(good) == line - 2 and reason == CUT_OFF and text == ""
    assert {row[0] for row in good} == {f"u{n}" for n in range(len(good))}
    (tmp_path / "short.csv.gz").write_bytes(whole[:20])
    with pytest.raises(InputError, match="gzip data is damaged"):
        read(tmp_path / "short.csv.gz")
