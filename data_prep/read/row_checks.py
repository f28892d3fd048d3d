"""What makes a row unusable: one rule, as an expression of the engine."""

from __future__ import annotations

import ibis
import ibis.expr.types as ir

from data_prep.read.sources import ROLES

# Whole numbers up to 2^63, be they seconds or nanoseconds.
LARGEST_TIME = 2.0**63


def fault(raw: ir.Table) -> ir.StringValue:
    """Says why a row is no interaction.

    Args:
      raw: `user_id, item_id, domain` as text and `timestamp` of any type, as the source has them.

    Returns:
      The first reason that holds, null for a row that can be used.
    """
    cases = []
    for role in ROLES:
        cases.append((_empty(raw[role]), f"empty {role}"))
        if role != "timestamp":
            # Programs in C end a text there, so that two ids would be one.
            cases.append((raw[role].contains("\0"), f"{role} with a NUL byte"))
    time = seconds(raw.timestamp)
    cases.append((time.isnull() | time.isnan(), "timestamp that is no number"))
    cases.append((time.abs() >= LARGEST_TIME, "timestamp out of range"))
    return ibis.cases(*cases, else_=ibis.null("string"))


def _empty(value: ir.Value) -> ir.BooleanValue:
    if not value.type().is_string():
        return value.isnull()  # As text every number would be written out for nothing.
    # What is blank is empty or starts with a blank; comparing is many times as fast as stripping.
    return value.isnull() | ((value < "!") & (value.strip() == ""))


def seconds(value: ir.Value) -> ir.FloatingValue:
    """A timestamp of any type as a number, null where it is none.

    Numbers keep their unit; dates and times become seconds since 1970.
    """
    kind = value.type()
    if kind.is_timestamp() or kind.is_date():
        # Whole seconds and the fraction apart: engines differ in how they round an epoch.
        time = value.cast("timestamp")
        return time.truncate("s").epoch_seconds().cast("float64") + time.microsecond() / 1e6
    if kind.is_numeric():
        return value.cast("float64")
    return value.cast("string").try_cast("float64")
