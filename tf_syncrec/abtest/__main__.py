"""What a variant is worth to people: `python -m tf_syncrec.abtest clicks.csv`.

Reads what was shown and clicked, and says the click-through rate (CTR) of every label in every
domain, what it gains over the control, and how certain that is.
"""

import argparse
import dataclasses
import json
import math
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.files import write_whole
from tf_syncrec.abtest.click_rows import COUNTED, IDS, ONE_BY_ONE, Clicks, read_clicks
from tf_syncrec.cli import Parser, path_option, run_command, say

UNCLEAR = "too few to tell"
"""Verdict on a label with fewer users or clicks than a test needs, or of a control with fewer."""

MISMATCH = 0.001
"""p-value below which there is a sample ratio mismatch: so low, since the test is looked at every
day."""


def main(argv: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = Parser(
        prog="python -m tf_syncrec.abtest",
        description="Compare the click-through rates of labels, overall and in every domain.",
        examples=[
            "clicks.csv",
            "clicks.parquet --control stable --shares stable=0.9,canary=0.1",
            "monday.csv tuesday.csv --column label=variant --output abtest.json",
        ],
        notes="Columns: user_id, label, domain, and either clicked (0 or 1, a row an impression)\n"
        "or impressions and clicks (counts). What is computed, and why: docs/gate.md.",
    )
    parser.add_argument(
        "files", nargs="+", type=path_option, metavar="FILE", help="CSV, TSV (also .gz) or Parquet"
    )
    parser.add_argument(
        "--control",
        metavar="LABEL",
        help="what the others are compared with; default: the label with the most users",
    )
    parser.add_argument(
        "--shares",
        metavar="A=X,B=Y",
        help="intended traffic split between the labels; default: equal",
    )
    parser.add_argument(
        "--column",
        dest="columns",
        metavar="NAME=THEIRS",
        action="append",
        default=[],
        help="name of a column in the files, e.g. label=variant; may be repeated",
    )
    parser.add_argument(
        "--output", type=path_option, metavar="FILE", help="write the result as JSON"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    args = parser.parse_args(argv)
    if args.output and not args.output.absolute().parent.is_dir():
        raise InputError(f"--output {args.output}: there is no folder {args.output.parent}")

    shares = _shares(args.shares) if args.shares else None
    clicks = read_clicks(args.files, _columns(args))
    report = _report(clicks, args.control, shares)
    _tell(report)
    if args.output:
        write_whole(args.output, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        say(str(args.output))


def _columns(args: argparse.Namespace) -> dict[str, str]:
    found, known = {}, (*IDS, *ONE_BY_ONE, *COUNTED)
    for given in args.columns:
        ours, equals, theirs = given.partition("=")
        if not equals or not theirs or ours not in known:
            raise InputError(
                f"--column {given}: expected NAME=THEIRS, NAME one of {', '.join(known)}"
            )
        found[ours] = theirs
    return found


def _shares(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        label, _, value = part.rpartition("=")
        try:
            found[label] = float(value)
        except ValueError:
            found[label] = math.nan
        if not label or not 0 < found[label] < math.inf:
            raise InputError(f"--shares {text}: expected LABEL=NUMBER above 0, received {part!r}")
    return found


def _report(clicks: Clicks, control: str | None, shares: dict[str, float] | None) -> dict[str, Any]:
    """All numbers, as plain JSON values."""
    from tf_syncrec.abtest.rates import CONFIDENCE, compare, sample_ratio
    from tf_syncrec.evaluation.significance import SIGNIFICANCE, holm

    names = clicks.label_names
    if len(names) < 2:
        raise InputError(f"the files have one label, {names[0]!r}: there is nothing to compare")
    users = np.array([len(np.unique(clicks.users[clicks.labels == n])) for n in range(len(names))])
    control = names[int(users.argmax())] if control is None else control
    if control not in names:
        raise InputError(f"--control {control}: no such label; there are {', '.join(names)}")
    if shares is not None and shares.keys() != set(names):
        raise InputError(f"--shares: expected a share of each of {', '.join(names)}")
    weights = np.array([shares[name] if shares else 1.0 for name in names])
    overall = _of_domain(clicks, None)
    domains = {name: _of_domain(clicks, d) for d, name in enumerate(clicks.domain_names)}
    others = [name for name in names if name != control]
    compared = {label: compare(overall[label], overall[control]) for label in others}
    by_domain = {
        name: {label: compare(rates[label], rates[control]) for label in others}
        for name, rates in domains.items()
    }
    # One family: a variant is to be safe in all domains, and of several variants one is taken.
    flat = [by_domain[name][label] for name in by_domain for label in others]
    # A p-value that nobody may go by is not to make another's smaller.
    family = [row["p_value"] if row["enough"] else 1.0 for row in flat]
    for row, p_holm in zip(flat, holm(family), strict=True):
        row["p_holm"] = float(p_holm)
    for row in [*compared.values(), *flat]:
        certain = row.get("p_holm", row["p_value"]) < SIGNIFICANCE
        better = "better" if row["difference"][0] > 0 else "worse"
        row["verdict"] = better if certain else "no clear difference"
        if not row["enough"]:
            row["verdict"] = UNCLEAR
    expected = weights / weights.sum()
    p_value = sample_ratio(users, weights)
    return {
        "control": control,
        "confidence": CONFIDENCE,
        "users": {
            "by_label": dict(zip(names, users.tolist(), strict=True)),
            "expected_share": dict(zip(names, expected.tolist(), strict=True)),
            "p_value": p_value,
            "mismatch": p_value < MISMATCH,
            "of_several_labels": clicks.mixed_users,
        },
        "overall": _rows(overall, compared),
        "domains": {name: _rows(rates, by_domain[name]) for name, rates in domains.items()},
    }


def _of_domain(clicks: Clicks, domain: int | None) -> dict[str, Any]:
    """The rate of each label, in a domain or in all of them together."""
    from tf_syncrec.abtest.rates import rate

    found = {}
    for index, label in enumerate(clicks.label_names):
        mine = clicks.labels == index
        if domain is not None:
            mine &= clicks.domains == domain
        _, user = np.unique(clicks.users[mine], return_inverse=True)
        sums = (np.bincount(user, column[mine]) for column in (clicks.impressions, clicks.clicks))
        found[label] = rate(*sums)
    return found


def _rows(rates: dict[str, Any], compared: dict[str, Any]) -> dict[str, Any]:
    return {
        label: dataclasses.asdict(found) | compared.get(label, {}) for label, found in rates.items()
    }


def _tell(report: dict[str, Any]) -> None:
    from tabulate import tabulate

    from tf_syncrec.evaluation import by_domain

    headers = ["domain", "label", "users", "impressions", "clicks", "CTR (95 %)"]
    headers += [f"lift over {report['control']} (95 %)", "p", "verdict"]
    lines = []
    for name, labels in by_domain(report).items():
        for label in sorted(labels, key=lambda label: (label != report["control"], label)):
            row = labels[label]
            ctr = f"{row['value']:.3%} ({row['low']:.3%} to {row['high']:.3%})"
            line = [name, label, *(f"{row[n]:,.0f}" for n in ("users", "impressions", "clicks"))]
            lines.append([*line, ctr, *_compared(row)])
    say(tabulate(lines, headers, disable_numparse=True))
    users = report["users"]
    say(
        "\np: by domain with Holm's correction. The unit of analysis is the user, not the "
        "impression."
    )
    if users["of_several_labels"]:
        said = f"{users['of_several_labels']:,} users have rows of several labels"
        say(f"WARNING  {said}: they are left out. Was traffic split by user?")
    if users["mismatch"]:
        counts = ", ".join(f"{name} {count:,}" for name, count in users["by_label"].items())
        wanted = ", ".join(f"{name} {x:.1%}" for name, x in users["expected_share"].items())
        say(
            f"WARNING  sample ratio mismatch: users by label are {counts}, expected {wanted} "
            f"(χ², p = {users['p_value']:.1e}). Its cause may explain the difference as well: do "
            "not trust the result before the cause is found."
        )


def _compared(row: dict[str, Any]) -> list[str]:
    if "verdict" not in row:
        return ["", "", ""]
    lift = "control unknown"
    if row["lift"]:
        value, low, high = row["lift"]
        lift = f"{value:+.1%} ({low:+.1%} to {high:+.1%})"
    return [lift, f"{row.get('p_holm', row['p_value']):.3g}", row["verdict"]]


if __name__ == "__main__":
    run_command(main)
