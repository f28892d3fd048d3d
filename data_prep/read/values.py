"""What a value of a file means: an id as text, a time as a number that keeps the order.

An id is text without blanks at its ends. Other types become text in one way: bytes are UTF-8, UUIDs
are spelt, whole floats and decimals are whole numbers. A time keeps its number, in whatever unit;
dates, with or without a time of day, become seconds since 1970, in UTC where they name no zone.

A float is exact for whole numbers up to 2^53, and for seconds since 1970 with microseconds. What a
time has beyond its float is its `rest`: `timestamp + rest` is exact.

DuckDB evaluates all of this, of text what is rare only where it is met. It is SQL: as expressions
of Ibis it takes longer to put together than to run on a small file.
"""

from __future__ import annotations

import ibis.expr.datatypes as dt
import ibis.expr.types as ir

from data_prep.engines.duckdb import DuckDB
from data_prep.read.sources import ROLES

BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What is no part of a value at its ends: what Python's `strip` drops from a header's names."""

TRIMMED, DATED, FROM_FLOAT = 1, 2, 4
"""Bits of `notes`: blanks were dropped, the time was a date, an id was a float or a decimal."""

FINENESS = (
    *((2.0**22, 10**9), (1e7, 10**8), (1e8, 10**7), (2.0**33, 10**6), (1e10, 10**5)),
    *((1e11, 10**4), (1e12, 10**3), (1e13, 10**2), (1e14, 10)),
)
"""Times, and what part of a unit floats below keep apart; above all that is the unit.

These are 15 digits or more: who wrote no more is understood as it was written.
"""

IDS = tuple(role for role in ROLES if role != "timestamp")
COLUMNS = (*ROLES, "rest", "notes")
"""What `meaning` adds."""


def meaning(engine: DuckDB, raw: ir.Table) -> ir.Table:
    """Adds what the values of a file mean.

    Args:
      engine: what holds the table.
      raw: has columns `raw_user_id` and so on for all `ROLES`, as the file has them.

    Returns:
      The same with `user_id, item_id, domain: string`, `timestamp, rest: float64` and `notes: int8`
      (see `TRIMMED`). What has no meaning is null.
    """
    kinds = {role: raw[f"raw_{role}"].type() for role in ROLES}
    texts = [role for role, kind in kinds.items() if _is_text(kind, role)]
    floats = [role for role in IDS if kinds[role].is_floating() or _has_fractions(kinds[role])]
    plain = [f"{_plain(role, kinds[role])} AS plain_{role}" for role in ROLES]
    blank = [f"{_blank_at_an_end(f'plain_{role}')} AS blank_{role}" for role in texts]
    values = [
        f"CASE WHEN blank_{role} THEN trim(plain_{role}, '{BLANKS}') ELSE plain_{role} END"
        if role in texts
        else f"plain_{role}"
        for role in ROLES
    ]
    named = [f"{value} AS {role}_value" for role, value in zip(ROLES, values, strict=True)]
    rows = engine.backend.compile(raw)
    for added in (plain, blank, named):
        rows = f"SELECT {', '.join(['*', *added])} FROM ({rows})"
    rows = _of_text(rows) if "timestamp" in texts else _of_number_or_date(rows, kinds["timestamp"])
    notes = {
        TRIMMED: [f"blank_{role}" for role in texts],
        FROM_FLOAT: [f"plain_{role} IS NOT NULL" for role in floats],
        DATED: ["dated"],
    }
    bits = [f"CASE WHEN {' OR '.join(of)} THEN {bit} ELSE 0 END" for bit, of in notes.items() if of]
    columns = [*raw.columns, *(f"{role}_value AS {role}" for role in IDS), "number AS timestamp"]
    columns += ["coalesce(rest, 0.0::DOUBLE) AS rest", f"({' + '.join(bits)})::TINYINT AS notes"]
    return engine.view(f"SELECT {', '.join(columns)} FROM ({rows})")


def _is_text(kind: dt.DataType, role: str) -> bool:
    # Decimals are times of more digits than a float has; their text has them all.
    return kind.is_string() or kind.is_binary() or (role == "timestamp" and kind.is_decimal())


def _has_fractions(kind: dt.DataType) -> bool:
    return kind.is_decimal() and kind.scale != 0


def _plain(role: str, kind: dt.DataType) -> str:
    """A value as text, and a time as it is if that is no text."""
    raw = f"raw_{role}"
    text = f"CAST({raw} AS VARCHAR)"
    if kind.is_string():
        return raw
    if kind.is_binary():
        return f"try(decode({raw}))"
    if role == "timestamp":
        return text if kind.is_decimal() else raw
    if _has_fractions(kind):
        return f"regexp_replace({text}, '\\.?0+$', '')"
    if kind.is_floating():
        known = f"isfinite({raw}) AND abs({raw}) <= {whole_up_to(kind)!r}"
        whole = f"CASE WHEN {raw} = floor({raw}) THEN CAST(TRY_CAST({raw} AS BIGINT) AS VARCHAR)"
        return f"CASE WHEN {known} THEN {whole} ELSE {text} END END"
    return text


def whole_up_to(kind: dt.DataType) -> float:
    """Up to where a float has all whole numbers."""
    return 2.0**53 if kind.is_float64() else 2.0**24


_BLANK = "[" + "".join(rf"\x{{{ord(blank):x}}}" for blank in BLANKS) + "]"


def _blank_at_an_end(text: str) -> str:
    # Comparing is many times as fast as a pattern, and tells of most texts that they are in order.
    fine = f"{text} BETWEEN '!' AND '\x7f' AND {text}[-1] BETWEEN '!' AND '\x7f'"
    pattern = f"coalesce(regexp_matches({text}, '^{_BLANK}|{_BLANK}$'), false)"
    return f"CASE WHEN {fine} THEN false ELSE {pattern} END"


def _of_number_or_date(rows: str, kind: dt.DataType) -> str:
    """Adds `number, rest, dated` to rows with a `timestamp_value` that is no text."""
    value = "timestamp_value"
    if kind.is_numeric():
        known = f"TRY_CAST({value} AS BIGINT)" if kind.is_integer() else "NULL"
        rows = f"SELECT *, {value}::DOUBLE AS number, {known} AS known FROM ({rows})"
        rest = "(known - TRY_CAST(number AS BIGINT))::DOUBLE"
        return f"SELECT *, {rest} AS rest, false AS dated FROM ({rows})"
    # Ibis does not know the type of nanoseconds with a zone.
    fine = kind.is_unknown() or (kind.is_timestamp() and (kind.scale or 0) > 6)
    if kind.is_date():
        value = f"TRY_CAST({value} AS TIMESTAMP)"
    since, second, unit = ("epoch_ns", 10**9, 1) if fine else ("epoch_us", 10**6, 1000)
    part = f"(since % {second} + {second}) % {second}"  # Also before 1970 from 0 up.
    rows = f"SELECT *, {since}({value}) AS since FROM ({rows})"
    added = f"try(since - {part}) // {second} AS whole, {part} * {unit} AS nanos"
    rows = f"SELECT *, {added} FROM ({rows})"
    # Some mean by the first or last moment of a type that there is none.
    beyond = "whole IS NULL AND timestamp_value IS NOT NULL"
    for added in (
        f"CASE WHEN {beyond} THEN 'Infinity'::DOUBLE ELSE {_SECONDS} END AS number",
        _FINE,
    ):
        rows = f"SELECT *, {added} FROM ({rows})"
    return f"SELECT *, {_REST} AS rest, number IS NOT NULL AS dated FROM ({rows})"


_SECONDS = "whole::DOUBLE + (nanos // 1000) / 1e6::DOUBLE"
# What is put together again, with the same nanoseconds of the float, in `interactions`.
_REST = """
    ((whole - TRY_CAST(floor(number) AS BIGINT)) * 1000000000 + nanos
     - TRY_CAST(round((number - floor(number)) * fine) AS BIGINT) * (1000000000 // fine)
    )::DOUBLE / 1e9"""
_FINER = " ".join(f"WHEN abs(number) < {bound!r} THEN {fine}" for bound, fine in FINENESS)
_FINE = f"CASE {_FINER} ELSE 1 END AS fine"
_SURE_DIGITS = 15  # Two numbers of so many are two floats.
_NUMBER = r"^([+-]?)(\d+)(?:\.(\d*))?$"
_NUMBER_PARTS = ["sign", "whole", "fraction"]
_DATE = (
    r"^(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[Tt ](\d\d)(?::?(\d\d)(?::?(\d\d)(?:[.,](\d+))?)?)?)?"
    r" ?(?:[Zz]|UTC|([+-])(\d\d)(?::?(\d\d))?)?$"
)
_DATE_PARTS = [
    *("year", "month", "day", "hour", "minute", "second", "fraction"),
    *("sign", "zone_hour", "zone_minute"),
]


def _of_text(rows: str) -> str:
    """Adds `number, rest, dated` to rows with a `timestamp_value` that is text."""

    def number(part: str) -> str:
        return f"coalesce(TRY_CAST(date.{part} AS BIGINT), 0)"

    def nanos(fraction: str) -> str:
        return f"TRY_CAST(rpad(left({fraction}, 9), 9, '0') AS BIGINT)"

    def sign(parts: str) -> str:
        return f"CASE {parts}.sign WHEN '-' THEN -1 ELSE 1 END"

    day = "TRY_CAST(concat_ws('-', date.year, date.month, date.day) AS DATE)"
    midnight = f"epoch_us(TRY_CAST({day} AS TIMESTAMP)) // 1000000"
    clock = f"3600 * {number('hour')} + 60 * {number('minute')} + {number('second')}"
    zone = f"3600 * {number('zone_hour')} + 60 * {number('zone_minute')}"
    # 24:00:00 is the end of the day, and a leap second the first second of the next minute.
    there = (
        f"{clock} <= 86400 AND {number('minute')} < 60 AND {number('second')} <= 60 "
        f"AND {number('zone_hour')} < 24 AND {number('zone_minute')} < 60"
    )
    of_date = f"CASE WHEN {there} THEN {midnight} + {clock} - {sign('date')} * ({zone}) END"
    text = "timestamp_value"
    for added in (
        f"TRY_CAST({text} AS DOUBLE) AS written",
        f"""CASE WHEN written IS NOT NULL AND length({text}) > {_SURE_DIGITS}
            THEN regexp_extract({text}, '{_NUMBER}', {_NUMBER_PARTS}) END AS decimal,
            CASE WHEN written IS NULL
            THEN regexp_extract({text}, '{_DATE}', {_DATE_PARTS}) END AS date""",
        f"""CASE WHEN date IS NOT NULL THEN {of_date}
            WHEN decimal IS NOT NULL THEN {sign("decimal")} * TRY_CAST(decimal.whole AS BIGINT)
            END AS whole,
            CASE WHEN date IS NOT NULL THEN {nanos("date.fraction")}
            WHEN decimal IS NOT NULL THEN {sign("decimal")} * {nanos("decimal.fraction")}
            END AS nanos""",
        f"coalesce(written, {_SECONDS}) AS number",
        _FINE,
        f"""CASE WHEN whole IS NULL OR abs(written) < {FINENESS[0][0]!r} THEN 0.0::DOUBLE
            ELSE {_REST} END AS rest, date IS NOT NULL AND number IS NOT NULL AS dated""",
    ):
        rows = f"SELECT *, {added} FROM ({rows})"
    return rows
