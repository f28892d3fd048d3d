"""The readers under random input: what is found here is kept as an example."""

import gzip
import json

import duckdb
import hypothesis
import pytest
from hypothesis import strategies as st

from data_prep.engines.connection import connect
from data_prep.read.file_scan import scan
from data_prep.read.interactions import read_interactions
from data_prep.read.sources import ROLES, Source
from data_prep.read.text_records import records

HEADER = b"user_id,item_id,domain,timestamp\n"


def settings(examples):
    return hypothesis.settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


_field = st.text('uv1 ,"\n\r\té\0\x1f\xa0\u3000', max_size=4)
_quoted = _field.map(lambda text: '"' + text.replace('"', '""') + '"')
_padded = st.tuples(st.sampled_from(["", " "]), _quoted, st.sampled_from(["", " ", "  "])).map(
    "".join
)
_time = st.sampled_from(
    ["1", "2.5", "1e3", " 7 ", "-3", "", "nan", "1e999", "1_0", "0x1", "٣", "1 2"]
)
_row = st.tuples(
    *[st.one_of(st.text("uvé", min_size=1, max_size=3), _quoted, _padded, _field)] * 3, _time
).map(",".join)
_end = st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", ",\n", "\n\n"])
_body = st.lists(st.tuples(_row, _end).map("".join), min_size=1, max_size=6).map("".join)
_utf16 = _body.map(lambda text: text.encode("utf-16"))
_bytes = st.one_of(_body.map(str.encode), st.binary(max_size=40), _utf16)


@pytest.fixture(scope="module")
def engine():
    with connect(threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "log.csv"


def source_of(path, **more):
    return Source(path, "log", ROLES, tuple((role, i) for i, role in enumerate(ROLES)), **more)


def read(engine, sources):
    reading = read_interactions(engine, sources)
    good = [tuple(row[role] for role in ROLES) for row in engine.fetch(reading.rows).to_pylist()]
    if reading.bad is None:
        return good, []
    bad = engine.fetch(reading.bad.order_by("source", "line")).to_pylist()
    return good, [(row["source"], row["line"], row["reason"]) for row in bad]


def usable(record):
    """Whether `row_checks` would let a record through, literally."""
    if record.fault is not None:
        return False
    if any(v is None or not v.strip() or "\0" in v for v in record.values.values()):
        return False
    time = record.values["timestamp"].strip()
    try:
        return time.isascii() and abs(float(time)) < 2.0**63
    except ValueError:
        return False


def texts(record):
    """What the ids of a record mean."""
    values = [record.values.get(role) for role in ROLES[:3]]
    return tuple(None if value is None else value.strip() for value in values)


@pytest.mark.slow
@settings(40)
@hypothesis.given(body=_bytes)
@hypothesis.example(body=b'u, "i",d,1\n')  # DuckDB drops one blank before a quote,
@hypothesis.example(body=b'u,  "i",d,1\n')  # and takes two for the text, as we do not.
@hypothesis.example(body=b'u,"i" ,d,1\n')
@hypothesis.example(body=b"u,i,d,1,,\n")  # It takes separators behind the last field,
@hypothesis.example(body=b"u,i,d,1\r\nv,i,d,2\n")  # but no line ends of two kinds,
@hypothesis.example(body=b"u,i,d,1\rv,i,d,2\r")
@hypothesis.example(body=b"\n\nu,i,d,1\n")
@hypothesis.example(body=b"u\0,i,d,1\n")  # and NUL as any other letter.
def test_every_row_is_either_read_or_set_aside(engine, path, body):
    path.write_bytes(HEADER + body)
    good, bad = read(engine, [source_of(path)])
    found = list(records(source_of(path)))
    if any('" ' in r.text and '"' in r.text.partition('" ')[2].lstrip(" ")[:1] for r in found):
        return  # DuckDB takes `"a" "b"` for one field; nothing else here does.
    expected = [r for r in found if usable(r)]
    assert [row[:3] for row in good] == [texts(r) for r in expected]
    assert [row[3] for row in good] == [float(r.values["timestamp"] or 0) for r in expected]
    assert [line for _, line, _ in bad] == [r.line for r in found if not usable(r)]


@pytest.mark.slow
@settings(20)
@hypothesis.given(bodies=st.lists(_body, min_size=2, max_size=4))
def test_one_file_or_many(engine, path, bodies):
    bodies = [body.rstrip("\r\n") + "\n" for body in bodies]
    hypothesis.assume(not any('"' in body for body in bodies))  # A quote may reach across files.
    path.write_bytes(HEADER + "".join(bodies).encode())
    good, bad = read(engine, [source_of(path)])
    files = []
    for number, body in enumerate(bodies):
        file = path.with_name(f"part{number}.csv")
        file.write_bytes(HEADER + body.encode())
        files.append(source_of(file))
    parted, set_aside = read(engine, files)
    assert sorted(parted) == sorted(good)
    assert [reason for *_, reason in set_aside] == [reason for *_, reason in bad]


_json_value = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text('uv"\\\0é\ud800', max_size=3)
)
_object = st.dictionaries(st.sampled_from([*ROLES, "other"]), _json_value).map(json.dumps)
_json_line = st.one_of(_object, st.text('{}[]":,1e', max_size=8))


@pytest.mark.slow
@settings(40)
@hypothesis.given(lines=st.lists(_json_line, min_size=1, max_size=4))
@hypothesis.example(lines=['{"user_id": "u", "item_id": "i", "domain": "d", "timestamp": 1}'])
@hypothesis.example(lines=['{"user_id": "u", "user_id": "v", "item_id": "i", "domain": "d"}'])
@hypothesis.example(lines=["null"])  # An empty row to DuckDB.
@hypothesis.example(lines=['{"user_id": "\\ud800"}'])
@hypothesis.example(lines=['{"user_id": -9223372036854775809, "item_id": 1e999}'])
def test_json_is_read_alike(engine, path, lines):
    path.write_text("\n".join(lines) + "\n")
    source = source_of(path, json=True)
    try:
        bulk = engine.fetch(scan(engine, source.shape, {0: source})).to_pylist()
    except duckdb.InvalidInputException:
        read(engine, [source])
        return
    found = list(records(source))
    assert [r.line for r in found if r.fault not in (None, "no JSON object")] == []
    assert [texts(r) for r in found] == [tuple(row[role] for role in ROLES[:3]) for row in bulk]


@settings(20)
@hypothesis.given(cut=st.integers(18, 2000), flip=st.none() | st.integers(10, 2000))
def test_damaged_gzip_never_passes_unseen(engine, path, cut, flip):
    rows = "".join(f"u{n},i{n * 7919 % 907},d,{n}\n" for n in range(400))
    whole = bytearray(gzip.compress(HEADER + rows.encode()))
    if flip is not None:
        whole[flip % len(whole)] ^= 0xFF
    path.write_bytes(whole[: min(cut, len(whole))])
    good, bad = read(engine, [source_of(path, gzipped=True)])
    assert bad or sorted(good) == sorted(
        (f"u{n}", f"i{n * 7919 % 907}", "d", float(n)) for n in range(400)
    )
