"""What makes a row unusable: one rule, as an expression of the engine."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from data_prep.read.values import IDS, whole_up_to

# Whole numbers up to 2^63, be they seconds or nanoseconds.
LARGEST_TIME = 2.0**63


def fault(rows: ir.Table) -> ir.StringValue:
    """Says why a row is no interaction.

    Args:
      rows: what `values.meaning` returned, or its columns of `ROLES` alone, which is enough to know
        that there is a fault.

    Returns:
      The first reason that holds, null for a row that can be used.
    """
    cases = []
    for role in IDS:
        if f"raw_{role}" in rows.columns:
            cases += _unreadable(rows[f"raw_{role}"], rows[role], role)
        cases.append((rows[role].isnull() | (rows[role] == ""), f"empty {role}"))
        # Programs in C end a text there, so that two ids would be one.
        cases.append((rows[role].contains("\0"), f"{role} with a NUL byte"))
    time = rows.timestamp
    if "raw_timestamp" in rows.columns:
        cases.append((_empty(rows.raw_timestamp), "empty timestamp"))
    cases.append((time.isnull() | time.isnan(), "timestamp that is no number or ISO 8601 date"))
    cases.append((time.abs() >= LARGEST_TIME, "timestamp out of range"))
    return ibis.cases(*cases, else_=ibis.null("string"))


def _unreadable(raw: ir.Value, value: ir.Value, role: str) -> list[tuple[ir.BooleanValue, str]]:
    if raw.type().is_binary():
        return [(raw.notnull() & value.isnull(), f"{role} that is not UTF-8")]
    if raw.type().is_floating():
        large = ~raw.isnan() & ~raw.isinf() & (raw.abs() > whole_up_to(raw.type()))
        return [(large, f"{role} that is a float too large to have kept all digits")]
    return []


def _empty(raw: ir.Value) -> ir.BooleanValue:
    if raw.type().is_string():
        return raw.isnull() | ~raw.re_search(r"[^\s]")
    return raw.isnull()
