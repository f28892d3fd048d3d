"""What values mean: ids of every type, times of every form, and that no order is lost."""

import datetime
import decimal
import itertools
import random
import sys
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.engines.duckdb import connect
from data_prep.errors import InputError
from data_prep.read.interactions import read_interactions
from data_prep.read.sources import user_sources
from data_prep.read.values import BLANKS

HEADER = "user_id,item_id,domain,timestamp"
UTC = datetime.UTC


@pytest.fixture(scope="module")
def engine():
    """Of a machine that is far from Greenwich."""
    with connect(threads=1) as engine:
        engine.backend.raw_sql("SET TimeZone = 'America/New_York'")
        yield engine


def read(engine, path):
    """Rows in the file's order, reasons of bad ones, and the reading."""
    reading = read_interactions(engine, user_sources(path))
    rows = [tuple(row.values()) for row in engine.fetch(reading.rows).to_pylist()]
    bad = [] if reading.bad is None else engine.fetch(reading.bad).to_pylist()
    return rows, [row["reason"] for row in bad], reading


def parquet(path, rows=2, **columns):
    given = {name: [name[0]] * rows for name in ("user_id", "item_id", "domain")}
    given |= {"timestamp": list(range(rows))} | columns
    pq.write_table(pa.table(given), path)
    return path


def text(path, times, separator="\t"):
    lines = [separator.join(("u", f"i{n}", "d", time)) for n, time in enumerate(times)]
    path.write_text("\n".join([HEADER.replace(",", separator), *lines]) + "\n")
    return path


KEYS = [uuid.UUID(int=5 << 120 | 7), uuid.UUID(int=255 << 120)]
TENTH = decimal.Decimal("0.10")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([b"\xc3\xa9", b"b"]), ["é", "b"]),
        (pa.array([b"\xc3\xa9", b"b"]).dictionary_encode(), ["é", "b"]),
        (pa.array(["x", "y"], pa.string_view()), ["x", "y"]),
        (pa.array([key.bytes for key in KEYS], pa.uuid()), [str(key) for key in KEYS]),
        (pa.array([120_000_000.0, -1.5]), ["120000000", "-1.5"]),
        (pa.array([2.0**53, 1e6]), [str(2**53), "1000000"]),
        (pa.array([7, 0.5], pa.float32()), ["7", "0.5"]),
        (pa.array([100 + 0 * TENTH, 5 * TENTH]), ["100", "0.5"]),
        (pa.array([decimal.Decimal(100), decimal.Decimal(7)]), ["100", "7"]),
        (pa.array([2**64 - 1, 0], pa.uint64()), [str(2**64 - 1), "0"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([datetime.date(2024, 1, 5)] * 2), ["2024-01-05"] * 2),
    ],
)
def test_ids_of_every_type(engine, tmp_path, values, expected):
    rows, bad, _ = read(engine, parquet(tmp_path / "log.parquet", item_id=values, domain=values))
    assert [row[1] for row in rows] == [row[2] for row in rows] == expected and not bad


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pa.array([b"\xff", b"\x80\x01"]), "item_id that is not UTF-8"),
        (pa.array([KEYS[1].bytes] * 2, pa.binary(16)), "item_id that is not UTF-8"),
        (pa.array([2.0**53 + 2, -1e300]), "item_id that is a float too large"),
        (pa.array([2.0**24 + 2, -1e30], pa.float32()), "item_id that is a float too large"),
        (pa.array([float("nan"), None]), "empty item_id"),
        (pa.nulls(2), "empty item_id"),
        (pa.array(["\u3000", "\t\x1f"]), "empty item_id"),
    ],
)
def test_values_that_are_no_ids(engine, tmp_path, values, reason):
    rows, bad, _ = read(engine, parquet(tmp_path / "log.parquet", item_id=values))
    assert not rows and len(bad) == 2 and all(found.startswith(reason) for found in bad)


@pytest.mark.parametrize(
    ("role", "values", "kind"),
    [
        ("item_id", [["a", "b"], ["c"]], "list<"),
        ("user_id", [{"a": 1}, {"a": 2}], "struct<"),
        ("domain", pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())), "map<"),
        ("user_id", pa.array([1, 2], pa.timestamp("us")), "timestamp"),
        ("user_id", pa.array([1, 2], pa.time64("us")), "time64"),
        ("item_id", pa.array([decimal.Decimal(1)] * 2, pa.decimal256(60)), "decimal256"),
        ("item_id", pa.array([4100.0, 4102.0], pa.float16()), "halffloat"),
        ("timestamp", pa.array([1, 2], pa.duration("s")), "duration"),
        ("timestamp", [[1], [2]], "list<"),
        ("timestamp", [True, False], "bool"),
    ],
)
def test_types_that_are_neither_ids_nor_times_are_named(tmp_path, role, values, kind):
    path = parquet(tmp_path / "log.parquet", **{role: values})
    with pytest.raises(InputError) as caught:
        user_sources(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), f"'{role}'", kind, f"data.columns.{role}="):
        assert word in message


def test_what_is_blank_is_what_python_strips(engine, tmp_path):
    assert all(("x" + blank).strip() == "x" for blank in BLANKS)
    assert set(BLANKS) == set(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
    path = tmp_path / "log.csv"
    row = "u\t{0}i{0}\t{0}d\t{0}1{0}"
    kept = [b for b in BLANKS if b not in "\t\n\r"]
    lines = [row.format(b) for b in [*kept, "", " \u3000"]]
    # What looks like one and is none stays: a soft hyphen, and a space without width.
    path.write_text("\n".join([HEADER.replace(",", "\t"), *lines, row.format("\u200b")]))
    rows, bad, reading = read(engine, path)
    assert rows == [("u", "i", "d", 1.0)] * len(lines) and len(bad) == 1
    assert reading.notes == {"trimmed": len(lines) - 1, "dated": 0, "from_float": 0}


DATES = [
    ("2024-01-05", "2024-01-05T00:00:00+00:00"),
    ("2024-01-05 10:00:00", "2024-01-05T10:00:00+00:00"),
    ("2024-01-05T10:00", "2024-01-05T10:00:00+00:00"),
    ("2024-01-05T10:00:00.25Z", "2024-01-05T10:00:00.25+00:00"),
    ("2024-01-05t10:00:00,25z", "2024-01-05T10:00:00.25+00:00"),
    ("2024-01-05 10:00:00 UTC", "2024-01-05T10:00:00+00:00"),
    ("2024-01-05T10:00:00+02:00", "2024-01-05T10:00:00+02:00"),
    ("2024-01-05 10:00:00 -0330", "2024-01-05T10:00:00-03:30"),
    ("2024-01-05T10:00:00-08", "2024-01-05T10:00:00-08:00"),
    ("2024-01-05+02:00", "2024-01-05T00:00:00+02:00"),
    ("20240105T100000Z", "2024-01-05T10:00:00+00:00"),
    ("2024-02-29T24:00:00", "2024-03-01T00:00:00+00:00"),
    ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
    ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5+00:00"),
    ("0001-01-01", "0001-01-01T00:00:00+00:00"),
    ("  2024-01-05\u00a0", "2024-01-05T00:00:00+00:00"),
]
NO_DATES = [
    *("2024-02-30", "2024-13-01", "2024-01-05T25:00", "2024-01-05T10:60", "2024-1-5"),
    *("05.01.2024", "01/05/2024", "2024-01-05 10:00 Europe/Paris", "2024-01-05T10:00:00+99:00"),
    *("10:00:00", "2024-01-05T", "2024-01-05 24:00:01", "Fri, 05 Jan 2024", "2024-01-05x"),
]


def test_dates_as_text(engine, tmp_path):
    """Beside a number, which stays what it is; and the zone of the machine does not matter."""
    moments = [datetime.datetime.fromisoformat(expected).timestamp() for _, expected in DATES]
    path = text(tmp_path / "log.tsv", [*(written for written, _ in DATES), "17"])
    rows, bad, reading = read(engine, path)
    assert [row[3] for row in rows] == [*moments, 17.0] and not bad
    assert reading.notes["dated"] == len(DATES)


def test_what_is_no_date_is_set_aside(engine, tmp_path):
    rows, bad, _ = read(engine, text(tmp_path / "log.tsv", ["17", *NO_DATES]))
    assert len(rows) == 1
    assert bad == ["timestamp that is no number or ISO 8601 date"] * len(NO_DATES)


def spelt(nanos):
    """Nanoseconds since 1970 as ISO 8601."""
    seconds, rest = divmod(nanos, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return f"{moment.isoformat()}.{rest:09d}Z"


def seconds(nanos):
    sign = "-" if nanos < 0 else ""
    return f"{sign}{abs(nanos) // 10**9}.{abs(nanos) % 10**9:09d}"


NANOS = [
    *(base + n for base in (1_704_448_800_123_456_789, -(10**18)) for n in range(-3, 3)),
    *(-1, 0, 1, 1_704_448_800_000_000_000),
]


@pytest.mark.parametrize(
    "columns",
    [
        {"timestamp": pa.array(NANOS, pa.timestamp("ns"))},
        {"timestamp": pa.array(NANOS, pa.timestamp("ns", "Asia/Tokyo"))},
        {"timestamp": pa.array([decimal.Decimal(n) / 10**9 for n in NANOS], pa.decimal128(28, 9))},
        {"timestamp": pa.array(map(spelt, NANOS))},
        {"timestamp": pa.array(map(seconds, NANOS))},
        {"timestamp": pa.array([spelt(n).encode() for n in NANOS])},
    ],
    ids=["ns", "ns_with_zone", "decimal", "iso", "text", "bytes"],
)
def test_nanoseconds_are_kept(engine, tmp_path, columns):
    rows, bad, reading = read(engine, parquet(tmp_path / "a.parquet", len(NANOS), **columns))
    assert [row[3] for row in rows] == NANOS and not bad and reading.ticks == 10**9


def test_nanoseconds_of_the_old_type_are_kept(engine, tmp_path):
    path = parquet(
        tmp_path / "a.parquet", len(NANOS), timestamp=pa.array(NANOS, pa.timestamp("ns"))
    )
    pq.write_table(pq.read_table(path), path, use_deprecated_int96_timestamps=True)
    rows, _, reading = read(engine, path)
    assert [row[3] for row in rows] == NANOS and reading.ticks == 10**9


@pytest.mark.parametrize("names", [["note", "other"], ["note", "note"]])
def test_old_timestamps_of_far_years_are_kept(engine, tmp_path, names):
    """Nanoseconds of such years go round in 64 bits, and came out as years around 1800."""

    def write(times, unit):
        path = parquet(tmp_path / "a.parquet", len(times), timestamp=pa.array(times, unit))
        table = pq.read_table(path)
        for name in names:
            table = table.append_column(name, pa.array([1] * len(times)))
        pq.write_table(table, path, use_deprecated_int96_timestamps=True)
        return path

    micros = [253_402_300_799_999_999, 1_704_448_800_123_456, None, -1, -62_135_596_800_000_000]
    rows, bad, reading = read(engine, write(micros, pa.timestamp("us")))
    assert [row[3] for row in rows] == [time for time in micros if time is not None]
    assert bad == ["empty timestamp"] and reading.ticks == 10**6
    rows, _, reading = read(engine, write(NANOS, pa.timestamp("ns")))
    assert [row[3] for row in rows] == NANOS and reading.ticks == 10**9
    write(micros[:1], pa.timestamp("us")).rename(tmp_path / "b.parquet")
    write(NANOS[:1], pa.timestamp("ns"))
    with pytest.raises(InputError, match="'timestamp' has nanoseconds, and years"):
        read(engine, tmp_path)


@pytest.mark.parametrize("zone", [None, "Europe/Paris"])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_the_last_moment_of_a_type_is_set_aside(engine, tmp_path, unit, zone):
    """It is meant for "never", and stopped the run, with a traceback where it was the first."""
    never = [2**63 - 1, -(2**63), -(2**63) + 1]
    raw = pa.array([1000, *never, 2000]).view(pa.timestamp(unit, zone))
    path = parquet(tmp_path / "a.parquet", 5, timestamp=raw)
    rows, bad, _ = read(engine, path)
    ticks = {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit]
    assert [row[3] for row in rows] == [1000 / ticks, 2000 / ticks]
    assert bad == ["timestamp out of range"] * 3


@pytest.mark.parametrize("form", ["int64", "uint64", "csv"])
def test_whole_numbers_beyond_floats_are_kept(engine, tmp_path, form):
    rng = random.Random(0)
    times = [2**53 + n for n in range(5)] + [2**63 - 1025, 20240105100000001]
    times += [rng.randrange(2**62) for _ in range(20)]
    times += [] if form == "uint64" else [-time for time in times]
    if form == "csv":
        path = text(tmp_path / "log.tsv", map(str, times))
    else:
        kind = getattr(pa, form)()
        path = parquet(tmp_path / "a.parquet", len(times), timestamp=pa.array(times, kind))
    rows, bad, reading = read(engine, path)
    assert [row[3] for row in rows] == times and not bad and reading.ticks == 1


def test_a_time_that_floats_keep_stays_a_float(engine, tmp_path):
    """So that what was prepared from such logs is what it was."""
    micros = pa.array([1_577_836_801_600_000, -1_600_000], pa.timestamp("us"))
    for path in (
        parquet(tmp_path / "a.parquet", timestamp=micros),
        text(tmp_path / "a.tsv", ["1577836801.6", "-1.6"]),
    ):
        rows, _, reading = read(engine, path)
        assert [row[3] for row in rows] == [1577836801.6, -1.6] and reading.ticks == 1


def test_one_moment_is_one_time_in_every_form(engine, tmp_path):
    """Whole and fractional seconds, of files of all types, beside a time with nanoseconds."""
    moments = [1_704_448_800_500_000_000, 1_704_448_800_000_000_000]
    floats = [n / 1e9 for n in moments]
    forms = [
        pa.array(moments, pa.timestamp("ns")),
        pa.array([n // 1000 for n in moments], pa.timestamp("us")),
        pa.array([n // 10**6 for n in moments], pa.timestamp("ms", "Europe/Paris")),
        pa.array(floats),
        pa.array(map(str, floats)),
        pa.array(map(spelt, moments)),
    ]
    for number, form in enumerate(forms):
        parquet(tmp_path / f"{number}.parquet", timestamp=form)
    rows, _, reading = read(engine, tmp_path)
    assert {row[3] for row in rows} == set(floats) and reading.ticks == 1
    parquet(tmp_path / "odd.parquet", 1, timestamp=pa.array([7], pa.timestamp("ns")))
    rows, _, reading = read(engine, tmp_path)
    assert {row[3] for row in rows} == {*moments, 7} and reading.ticks == 10**9


@pytest.mark.parametrize(("ticks", "digits", "most"), [(10**9, 9, 2**33), (10**6, 6, 10**12)])
def test_random_times_are_exact(engine, tmp_path, ticks, digits, most):
    """Of all sizes and lengths, as numbers and as dates, with neighbours."""
    rng, exact = random.Random(ticks), []
    for _ in range(200):
        whole = rng.randrange(int(most ** rng.random()))
        finer = 10 ** rng.randrange(digits + 1)
        time = whole * ticks + rng.randrange(finer) * (ticks // finer)
        exact += [time, -time, time + rng.randrange(2)]
    written = []
    for time in exact:
        number = f"{'-' * (time < 0)}{abs(time) // ticks}.{abs(time) % ticks:0{digits}d}"
        written.append(number.rstrip("0").rstrip(".") if time % 3 else number)
    dates = [time * 10**9 // ticks for time in exact if 0 <= time < 2**33 * ticks]
    path = text(tmp_path / "log.tsv", written + [spelt(nanos) for nanos in dates])
    rows, bad, reading = read(engine, path)
    assert reading.ticks == ticks and not bad
    assert [row[3] for row in rows] == exact + [nanos * ticks // 10**9 for nanos in dates]


def test_far_times_with_microseconds_are_kept(engine, tmp_path):
    """Nobody knows when, so somebody wrote the last moment of the calendar."""
    micros = [253_402_300_799_999_999, 1_704_448_800_123_456, 253_402_300_799_999_998]
    path = parquet(tmp_path / "a.parquet", 3, timestamp=pa.array(micros, pa.timestamp("us")))
    rows, _, reading = read(engine, path)
    assert [row[3] for row in rows] == micros and reading.ticks == 10**6


@pytest.mark.parametrize(
    "times",
    [
        ["20240105100000001", "0.5"],
        ["9999-12-31T00:00:00Z", "2024-01-05T10:00:00.123456789Z"],
    ],
)
def test_times_that_no_64_bits_hold_are_refused(engine, tmp_path, times):
    path = text(tmp_path / "log.tsv", times)
    with pytest.raises(InputError, match=r"log\.tsv: the timestamps.*more digits than 64 bits"):
        read(engine, path)


def test_the_order_of_files_does_not_matter(engine, tmp_path):
    """Each file is read by itself: types of one are not forced on the others."""
    files: list[dict] = [
        {"item_id": [1, 2], "timestamp": [1, 2]},
        {"item_id": ["007", "3.0"], "timestamp": ["3", "2024-01-05"]},
        {"item_id": [0.1, 4.0], "timestamp": [5.5, 6.25]},
        {"item_id": pa.nulls(2), "timestamp": pa.nulls(2)},
        {"item_id": [2**53 + 1, 2**63 - 1], "timestamp": [datetime.date(2024, 1, 5)] * 2},
        {"item_id": ["a", "b"], "timestamp": [datetime.datetime(2024, 1, 5, 9, tzinfo=UTC)] * 2},
    ]
    expected = [("1", 1.0), ("2", 2.0), ("007", 3.0), ("3.0", 1704412800.0), ("0.1", 5.5)]
    expected += [("4", 6.25), (str(2**53 + 1), 1704412800.0), (str(2**63 - 1), 1704412800.0)]
    expected += [("a", 1704445200.0), ("b", 1704445200.0)]
    for turn, names in enumerate(itertools.islice(itertools.permutations("abcdef"), 0, 720, 143)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        for name, columns in zip(names, files, strict=True):
            parquet(folder / f"{name}.parquet", **columns)
        rows, bad, _ = read(engine, folder)
        assert sorted((row[1], row[3]) for row in rows) == sorted(expected)
        assert bad == ["empty item_id"] * 2
