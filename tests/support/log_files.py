"""Writes rows of a log as files of every shape that the reader takes, and says what they mean.

Rows are `(user, item, domain, nanoseconds since 1970)`, with whole numbers of any size. Nothing of
the product is used here.
"""

import dataclasses
import datetime
import decimal
import gzip
import re
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROLES = ("user_id", "item_id", "domain", "timestamp")
SECOND = 10**9
NO_TIME = "timestamp that is no number or ISO 8601 date"
REASONS = {
    "no user": "empty user_id",
    "no item": "empty item_id",
    "no domain": "empty domain",
    "no time": "empty timestamp",
    "odd time": NO_TIME,
    "far time": "timestamp out of range",
    "nul": "item_id with a NUL byte",
    "latin": "item_id that is not UTF-8",
    "few": "{} fields where {} are expected",
    "many": "{} fields where {} are expected",
    "quote": "broken quoting",
    "open": "broken quoting",
}
"""Kinds of rows that are none, and what the reader has to say of them."""


@dataclasses.dataclass(frozen=True)
class Bad:
    """A row that is none."""

    kind: str
    spelt: str = ""


@dataclasses.dataclass(frozen=True)
class Text:
    """How a file of separated values is written.

    Attributes:
      times: the forms that times take in turn, see `time_text`.
      pad: blanks around every value of a column of `padded`, in every second row.
      outside: blanks around quotes.
    """

    separator: str = ","
    end: str = "\n"
    gz: int = 0
    mark: bool = False
    quoted: bool = False
    blank_lines: bool = False
    last_end: bool = True
    times: tuple[str, ...] = ("number",)
    pad: tuple[str, str] = ("", "")
    padded: tuple[str, ...] = ()
    outside: tuple[str, str] = ("", "")


@dataclasses.dataclass(frozen=True)
class Parquet:
    """How a Parquet file is written; a column whose values do not fit its type is of text."""

    ids: tuple[str, str, str] = ("string", "string", "string")
    time: str = "int64"
    times: tuple[str, ...] = ("number",)
    group: int = 1000
    options: tuple[tuple[str, object], ...] = ()
    pad: tuple[str, str] = ("", "")
    padded: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a log.

    Attributes:
      layout: names of all columns in order; roles, and others that nobody reads.
      rows: rows and `Bad` ones.
    """

    name: str
    folders: tuple[str, ...] = ()
    style: Text | Parquet = Text()
    layout: tuple[str, ...] = ROLES
    rows: tuple = ()

    @property
    def place(self) -> str:
        return "/".join((*self.folders, self.name))


@dataclasses.dataclass
class Meaning:
    """What a file says: good rows, bad ones as `(line, reason, text or None)`, and notes."""

    good: list = dataclasses.field(default_factory=list)
    bad: list = dataclasses.field(default_factory=list)
    notes: dict = dataclasses.field(
        default_factory=lambda: {"trimmed": 0, "dated": 0, "from_float": 0}
    )


def write(file: File, root: Path, names: dict[str, str]) -> Meaning:
    """Writes a file; `names` are those of the columns of roles."""
    path = root / file.place
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.style, Text):
        return _write_text(file, file.style, path, names)
    return _write_parquet(file, file.style, path, names)


# ----------------------------------------------------------------------------------------- times

FIRST, LAST = -62_135_596_800 * SECOND, 253_402_300_800 * SECOND  # Years 1 to 9999.


def number_text(nanos: int) -> str:
    whole, part = divmod(abs(nanos), SECOND)
    text = f"{whole}.{part:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nanos < 0 else text


def time_text(nanos: int, form: str) -> tuple[str, bool]:
    """A time in a form, or as a number where it has none of that form, and whether it is a date."""
    plain = number_text(nanos)
    day = 86_400 * SECOND
    if form.startswith("iso") and FIRST + day <= nanos < LAST - day:
        minutes = {"iso+0530": 330, "iso-08": -480}.get(form, 0)
        whole, part = divmod(nanos + minutes * 60 * SECOND, SECOND)
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=whole)
        if form == "iso day":
            if (nanos % day) == 0:
                return moment.date().isoformat(), True
            form = "iso T"
        text = moment.isoformat(sep="T" if form != "iso space" else " ")
        if form == "iso basic":
            text = text.replace("-", "").replace(":", "")
        if part:
            text += f".{part:09d}".rstrip("0")
        zone = {"iso+0530": "+05:30", "iso-08": "-08", "iso Z": "Z", "iso space": " UTC"}
        return text + zone.get(form, ""), True
    if form == "point" and "." not in plain:
        return f"{plain}.0", False
    if form == "plus" and nanos >= 0:
        return f"+{plain}", False
    if form == "zeros" and nanos >= 0:
        return f"00{plain}", False
    if form == "exponent" and (match := re.fullmatch(r"(-?\d{1,15}?)(0+)", plain)):
        return f"{match[1]}e{len(match[2])}", False
    return plain, False


TIME_FORMS = (
    *("number", "point", "plus", "zeros", "exponent", "iso T", "iso Z", "iso space"),
    *("iso+0530", "iso-08", "iso basic", "iso day"),
)


# ------------------------------------------------------------------------------------------ text


def _write_text(file: File, style: Text, path: Path, names: dict[str, str]) -> Meaning:
    meaning, text = Meaning(), "\ufeff" if style.mark else ""
    width = len(file.layout)
    header = [names.get(name, name) for name in file.layout]
    if style.padded:
        header = [style.pad[0] + name + style.pad[1] for name in header]
    text += style.separator.join(_field(name, style) for name in header) + style.end
    pieces, line = [text], 1 + _line_ends(text)
    for n, row in enumerate(file.rows):
        if style.blank_lines and n % 2:
            pieces.append(style.end)
            line += 1
        record, noted = _record(file.layout, style, n, row)
        if isinstance(row, Bad):
            fields = {"few": width - 1, "many": width + 1}.get(row.kind)
            shown = record.replace("\udce9", "\\xe9")
            meaning.bad.append((line, REASONS[row.kind].format(fields, width), shown))
        else:
            meaning.good.append(row)
            for note in noted:
                meaning.notes[note] += 1
        pieces += [record, style.end if n + 1 < len(file.rows) or style.last_end else ""]
        line += _line_ends(record) + 1
    text = "".join(pieces)
    data = text.encode("utf-8", "surrogateescape")
    if style.gz:  # In as many members.
        size = len(data) // style.gz + 1
        data = b"".join(
            gzip.compress(data[n * size : (n + 1) * size], mtime=0) for n in range(style.gz)
        )
    path.write_bytes(data)
    return meaning


def _line_ends(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text))


def _record(layout: tuple[str, ...], style: Text, n: int, row) -> tuple[str, set[str]]:
    """A line, or more where a quoted value has some, without its end; and what is to be noted."""
    noted = set()
    if isinstance(row, Bad):
        values = dict(zip(ROLES, ("u", "i", "d", "1"), strict=True))
        spelt = {
            "no user": ("user_id", ""),
            "no item": ("item_id", " "),
            "no domain": ("domain", ""),
            "no time": ("timestamp", ""),
            "odd time": ("timestamp", row.spelt or "soon"),
            "far time": ("timestamp", row.spelt or "1e30"),
            "nul": ("item_id", "i\0"),
            "latin": ("item_id", "caf\udce9"),
        }
        values |= dict([spelt[row.kind]] if row.kind in spelt else [])
    else:
        written, dated = time_text(row[3], style.times[n % len(style.times)])
        noted |= {"dated"} if dated else set()
        values = dict(zip(ROLES, (*row[:3], written), strict=True))
        if any(style.pad) and n % 2:
            for role in style.padded:
                values[role] = style.pad[0] + values[role] + style.pad[1]
                noted |= {"trimmed"}
    fields = [_field(values.get(name, "x"), style) for name in layout]
    if isinstance(row, Bad) and row.kind in ("few", "many", "quote", "open"):
        fields = [values.get(name, "x") for name in layout]
        if row.kind == "few":
            fields.pop()
        elif row.kind == "many":
            fields.append("x")
        else:
            fields[0] = '"u"x' if row.kind == "quote" else '"open'
    return style.separator.join(fields), noted


def _field(value: str, style: Text) -> str:
    if style.quoted or any(c in value for c in f'{style.separator}"\r\n'):
        before, behind = ("" if style.separator in blanks else blanks for blanks in style.outside)
        return before + '"' + value.replace('"', '""') + '"' + behind
    return value


# --------------------------------------------------------------------------------------- Parquet


def _write_parquet(file: File, style: Parquet, path: Path, names: dict[str, str]) -> Meaning:
    rows = [_values(row) for row in file.rows]
    columns = dict(zip(ROLES, map(list, zip(*rows, strict=True)), strict=True)) if rows else {}
    arrays = {}
    for role, kind in zip(ROLES[:3], style.ids, strict=True):
        arrays[role] = _ids_or_text(columns.get(role, []), kind)
    of_float = any(
        pa.types.is_floating(a.type) or (pa.types.is_decimal(a.type) and a.type.scale)
        for a in arrays.values()
    )
    arrays["timestamp"], dated = _times_or_text(columns.get("timestamp", []), style)
    trimmed = [False] * len(rows)
    for role in style.padded if any(style.pad) else ():
        if not _is_text(arrays[role].type) or b"\xff" in columns.get(role, []):
            continue
        texts = arrays[role].cast(pa.string()).to_pylist()
        for n, row in enumerate(file.rows):
            if n % 2 and not isinstance(row, Bad):
                texts[n] = style.pad[0] + texts[n] + style.pad[1]
                trimmed[n] = True
        arrays[role] = pa.array(texts, pa.string()).cast(arrays[role].type)
    meaning = Meaning()
    for n, row in enumerate(file.rows):
        if isinstance(row, Bad):
            meaning.bad.append((n + 1, REASONS[_kind_in_a_table(row)], None))
            continue
        meaning.good.append(row)
        meaning.notes["dated"] += dated[n]
        meaning.notes["trimmed"] += trimmed[n]
        meaning.notes["from_float"] += of_float
    header = [names.get(name, name) for name in file.layout]
    if style.padded:
        header = [style.pad[0] + name + style.pad[1] for name in header]
    data = [
        arrays[name] if name in arrays else _other(place, len(rows))
        for place, name in enumerate(file.layout)
    ]
    options: dict = dict(style.options)
    if style.time == "int96":
        options["use_deprecated_int96_timestamps"] = True
    if str(arrays["timestamp"].type).startswith("timestamp[ns"):
        options.pop("version", None)  # Old ones have none.
    table = pa.Table.from_arrays(data, header)
    pq.write_table(table, path, row_group_size=style.group, **options)
    return meaning


def _ids_or_text(values: list, kind: str) -> pa.Array:
    array = _ids(values, kind)
    return _ids(values, "string") if array is None else array


def _times_or_text(values: list, style: Parquet) -> tuple[pa.Array, list[bool]]:
    """A column of times, and which of them are dates."""
    array = _times(values, style.time)
    if array is not None:
        return array, [style.time in DATES] * len(values)
    texts, dated = [], []
    for n, time in enumerate(values):
        text, is_date = None if time is None else str(time), False
        if isinstance(time, int):
            text, is_date = time_text(time, style.times[n % len(style.times)])
        texts.append(text)
        dated.append(is_date)
    return _ids_or_text(texts, style.time if style.time in TEXTS else "string"), dated


def _values(row) -> tuple:
    if not isinstance(row, Bad):
        return row
    user, item, domain, time = "u", "i", "d", 1 * SECOND
    return {
        "no user": (None, item, domain, time),
        "no item": (user, None, domain, time),
        "no domain": (user, item, None, time),
        "no time": (user, item, domain, None),
        "odd time": (user, item, domain, row.spelt or float("nan")),
        "far time": (user, item, domain, row.spelt or float("inf")),
        "nul": (user, "i\0", domain, time),
        "latin": (user, b"\xff", domain, time),
    }[_kind_in_a_table(row)]


def _kind_in_a_table(row: Bad) -> str:
    """What only a line can have is another fault there."""
    return "no item" if row.kind in ("few", "many", "quote", "open") else row.kind


def _other(place: int, size: int) -> pa.Array:
    return [
        pa.array(["x"] * size, pa.string()),
        pa.array([[1, 2]] * size, pa.list_(pa.int64())),
        pa.array([{"user_id": "x", "a": 1}] * size, pa.struct({"user_id": "str", "a": "int8"})),
        pa.nulls(size),
        pa.array([b"\xff"] * size, pa.binary()),
        pa.array([[("k", 1.5)]] * size, pa.map_(pa.string(), pa.float64())),
        pa.array([None] * size, pa.timestamp("ns", "Europe/Paris")),
    ][place % 7]


_WHOLE = re.compile(r"0|-?[1-9]\d*")
_TENTHS = ("0.5", "-1.5")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
TEXTS = ("string", "large_string", "string_view", "binary", "large_binary", "dictionary")
ID_TYPES = (
    *TEXTS,
    *("int64", "int32", "uint64", "float64", "float32", "decimal", "tenths"),
    *("bool", "date", "uuid", "fixed", "null"),
)
DATES = ("s", "ms", "us", "ns", "us zone", "ns zone", "date", "int96")
TIME_TYPES = (
    *("int64", "int32", "uint64", "uint32", "float64", "float32", "decimal", *DATES),
    *TEXTS,
)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    return any(test(kind) for test in (*tests, pa.types.is_large_binary))


def _ids(values: list, kind: str) -> pa.Array | None:
    """A column of ids (text, None, or bytes), or None where the type does not hold them."""
    if any(isinstance(value, bytes) for value in values):
        raw = [v.encode() if isinstance(v, str) else v for v in values]
        return pa.array(raw, pa.large_binary() if kind == "large_binary" else pa.binary())
    there = [value for value in values if value is not None]
    if kind in ("string", "large_string", "string_view"):
        return pa.array(values, getattr(pa, kind)())
    if kind in ("binary", "large_binary"):
        return pa.array([v if v is None else v.encode() for v in values], getattr(pa, kind)())
    if kind == "dictionary":
        return pa.array(values, pa.string()).dictionary_encode()
    if kind == "null":
        return None if there else pa.nulls(len(values))
    if kind == "fixed":
        sizes = {len(v.encode()) for v in there}
        raw = [v if v is None else v.encode() for v in values]
        return pa.array(raw, pa.binary(sizes.pop())) if len(sizes) == 1 else None
    if kind == "bool":
        if not set(there) <= {"true", "false"}:
            return None
        return pa.array([v if v is None else v == "true" for v in values], pa.bool_())
    if kind == "date":
        if not all(_DATE.fullmatch(v) for v in there):
            return None
        parsed = [v if v is None else datetime.date.fromisoformat(v) for v in values]
        return pa.array(parsed, pa.date32())
    if kind == "uuid":
        try:
            keys = [v if v is None else uuid.UUID(v).bytes for v in values]
        except ValueError:
            return None
        if any(v is not None and str(uuid.UUID(v)) != v for v in values):
            return None
        return pa.array(keys, pa.uuid())
    fractions = kind in ("float64", "float32", "tenths")
    if not all(_WHOLE.fullmatch(v) or (fractions and v in _TENTHS) for v in there):
        return None
    if kind in ("decimal", "tenths"):
        if any(len(v.lstrip("-")) > 20 for v in there):
            return None
        numbers = [v if v is None else decimal.Decimal(v) for v in values]
        return pa.array(numbers, pa.decimal128(30, 0 if kind == "decimal" else 2))
    if kind in ("float64", "float32"):
        most = 2**53 if kind == "float64" else 2**24
        if any(abs(float(v)) > most for v in there):
            return None
        if any(_WHOLE.fullmatch(v) and abs(int(v)) > most for v in there):
            return None
        return pa.array([v if v is None else float(v) for v in values], getattr(pa, kind)())
    return _whole([v if v is None else int(v) for v in values], kind)


def _whole(values: list, kind: str) -> pa.Array | None:
    bits, signed = int(re.sub(r"\D", "", kind)), kind.startswith("i")
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    if not all(v is None or lowest <= v < highest for v in values):
        return None
    return pa.array(values, getattr(pa, kind)())


def _times(values: list, kind: str) -> pa.Array | None:
    """A column of times that are nanoseconds (None: empty, float: NaN), where the type has them."""
    if kind in TEXTS or any(isinstance(value, str) for value in values):
        return None
    if kind.startswith("float"):
        floats = [v if v is None or isinstance(v, float) else v / SECOND for v in values]
        array = pa.array(floats, getattr(pa, kind)())
        for value, held in zip(values, array.to_pylist(), strict=True):
            if isinstance(value, int) and (
                len(number_text(value).strip("-").replace(".", "")) > 15
                or (
                    decimal.Decimal(held) != decimal.Decimal(number_text(value))
                    and (kind == "float32" or repr(held).removesuffix(".0") != number_text(value))
                )
            ):
                return None
        return array
    if kind.split()[0] in ("ms", "us", "ns"):  # Their last moment is none.
        last = (2**63 - 1) * {"ms": 10**6, "us": 1000, "ns": 1}[kind.split()[0]]
        values = [last if value == float("inf") else value for value in values]
    if any(isinstance(value, float) for value in values):
        return None
    there = [value for value in values if value is not None]
    if "int" in kind and kind != "int96":
        if any(value % SECOND for value in there):
            return None
        return _whole([v if v is None else v // SECOND for v in values], kind)
    if kind == "decimal":
        if any(abs(value) >= 10**28 for value in there):
            return None
        numbers = [v if v is None else decimal.Decimal(v).scaleb(-9) for v in values]
        return pa.array(numbers, pa.decimal128(38, 9))
    if kind == "int96":
        return _old_times(values)
    unit = {"date": 86_400 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000}.get(kind.split()[0], 1)
    if any(value % unit for value in there):
        return None
    counts = [v if v is None else v // unit for v in values]
    if kind == "date":
        return None if any(abs(c) >= 2**31 for c in counts if c) else pa.array(counts, pa.date32())
    if any(abs(c) >= 2**63 for c in counts if c):
        return None
    name = kind.split()[0]
    # Parquet keeps seconds as milliseconds; and what is too far for microseconds is no time.
    most = (2**63 - 1) * 10**6
    if name in ("s", "ms") and any(2**63 * 1000 <= abs(value) != most for value in there):
        return None
    return pa.array(counts, pa.timestamp(name, "Europe/Paris" if "zone" in kind else None))


def _old_times(values: list) -> pa.Array | None:
    """Arrow writes them of any unit; they have the range of microseconds."""
    there = [value for value in values if value is not None]
    for unit, name in ((1, "ns"), (1000, "us")):
        counts = [v if v is None else v // unit for v in values]
        if all(v % unit == 0 and abs(v // unit) < 2**63 for v in there):
            return pa.array(counts, pa.timestamp(name))
    return None
