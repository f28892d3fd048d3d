"""What was shown to whom and what was clicked, added up by user, label and domain."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from data_prep.errors import InputError

IDS = ("user_id", "label", "domain")
ONE_BY_ONE, COUNTED = ("clicked",), ("impressions", "clicks")
"""What else a file has: a row an impression, or counts."""


@dataclasses.dataclass(frozen=True)
class Clicks:
    """Sums of one user, label and domain in each row.

    Attributes:
        users: `[rows]` int, a number for each user.
        labels: `[rows]` int, index into `label_names`.
        domains: `[rows]` int, index into `domain_names`.
        impressions: `[rows]` float, how often something was shown, above 0.
        clicks: `[rows]` float, how often it was clicked.
        label_names: alphabetical.
        domain_names: alphabetical.
        mixed_users: users with rows of several labels, who are left out.
    """

    users: np.ndarray
    labels: np.ndarray
    domains: np.ndarray
    impressions: np.ndarray
    clicks: np.ndarray
    label_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    mixed_users: int


def read_clicks(paths: Sequence[Path], columns: Mapping[str, str]) -> Clicks:
    """Reads CSV, TSV (also gzipped) or Parquet files.

    Args:
        paths: files of equal columns, all of which count together.
        columns: what the files call a column, by our name; ours where it is not named.

    Returns:
        The sums. Users with rows of several labels are in none: which of the variants brought them
        to click, nobody knows.

    Raises:
        InputError: a file or a column is not there, a value is none of those that it may be, or
            no user is left.
    """
    if missing := [path for path in paths if not path.is_file()]:
        raise InputError(f"{missing[0]}: no such file")
    with duckdb.connect() as connection:
        try:
            rows = _rows(connection, paths)
            query = _query(connection, rows, columns, ", ".join(map(str, paths)))
            connection.execute(f"CREATE TEMP VIEW rows AS {query}")
            _check(connection)
            return _summed(connection)
        except duckdb.Error as error:
            said = " ".join(str(error).split())[:300]
            raise InputError(f"{', '.join(map(str, paths))}: cannot be read ({said})") from None


def _list(paths: Sequence[Path]) -> str:
    return ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)


def _rows(connection: Any, paths: Sequence[Path]) -> str:
    """SQL that reads all values as text, in the order of the files."""
    kinds = {path.suffix == ".parquet" for path in paths}
    if len(kinds) > 1:
        raise InputError("give either Parquet files or text files, not both")
    if kinds.pop():
        return f"read_parquet([{_list(paths)}], filename = true)"
    return f"read_csv([{_list(paths)}], header = true, all_varchar = true, filename = true)"


def _query(connection: Any, rows: str, columns: Mapping[str, str], files: str) -> str:
    """SQL with our columns as text, `place` and `file`."""
    there = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()]
    there.remove("filename")

    def named(ours: str) -> str:
        return columns.get(ours, ours)

    counted = all(named(name) in there for name in COUNTED)
    wanted = (*IDS, *(COUNTED if counted else ONE_BY_ONE))
    for ours in wanted:
        if named(ours) not in there:
            other = "" if ours in IDS else f" (or {' and '.join(map(named, COUNTED))})"
            raise InputError(
                f"{files}: has no column {named(ours)!r}{other}; there are {', '.join(there)}. "
                f"--column {ours}=NAME names it"
            )
    texts = [f"trim(CAST({_quoted(named(ours))} AS VARCHAR)) AS {ours}" for ours in wanted]
    texts += ["filename AS file", "row_number() OVER () AS place"]
    query = f"SELECT {', '.join(texts)} FROM {rows}"
    if counted:
        return query
    yes, no = "('1', '1.0', 'true')", "('0', '0.0', 'false')"
    value = f"CASE WHEN lower(clicked) IN {yes} THEN '1' WHEN lower(clicked) IN {no} THEN '0' END"
    return f"SELECT *, '1' AS impressions, {value} AS clicks FROM ({query})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _check(connection: Any) -> None:
    """Raises InputError for the first row that cannot be used."""
    count = r"regexp_full_match({0}, '\d{{1,11}}(\.0)?')"
    good = " AND ".join(
        [
            *(f"coalesce({name}, '') <> ''" for name in IDS),
            *(f"coalesce({count.format(name)}, false)" for name in COUNTED),
        ]
    )
    # A cast only where the text is a number.
    right = f"CASE WHEN {good} THEN clicks::DOUBLE <= impressions::DOUBLE ELSE false END"
    found = connection.execute(f"SELECT * FROM rows WHERE NOT ({right}) ORDER BY place LIMIT 1")
    bad = found.fetchone()
    if bad is None:
        return
    names = [column[0] for column in found.description]
    row = dict(zip(names, bad, strict=True))
    shown = {name: row[name] for name in names if name not in ("file", "place")}
    if "clicked" in shown:
        del shown["impressions"], shown["clicks"]
    raise InputError(
        f"{row['file']}: row {row['place']} (of all, headers apart): expected a user, a label, a "
        "domain and whole numbers, clicked 0 or 1 and no more clicks than impressions, received "
        + ", ".join(f"{name} {value!r}" for name, value in shown.items())
    )


def _summed(connection: Any) -> Clicks:
    mixed = connection.execute(
        "SELECT count(*) FROM (SELECT user_id FROM rows GROUP BY user_id "
        "HAVING count(DISTINCT label) > 1)"
    ).fetchone()
    found = connection.execute(
        "SELECT user_id, any_value(label) AS label, domain, sum(impressions::DOUBLE) AS shown, "
        "sum(clicks::DOUBLE) AS clicked FROM rows WHERE user_id NOT IN (SELECT user_id FROM rows "
        "GROUP BY user_id HAVING count(DISTINCT label) > 1) GROUP BY user_id, domain "
        "HAVING shown > 0 ORDER BY user_id, domain"
    ).fetchnumpy()
    if not len(found["shown"]):
        raise InputError("no users are left: no impressions, or every user has rows of two labels")

    def coded(name):
        return np.unique(np.asarray(found[name], str), return_inverse=True)

    (_, users), (labels, label), (domains, domain) = map(coded, IDS)
    return Clicks(
        users=users,
        labels=label,
        domains=domain,
        impressions=np.asarray(found["shown"], float),
        clicks=np.asarray(found["clicked"], float),
        label_names=tuple(labels.tolist()),
        domain_names=tuple(domains.tolist()),
        mixed_users=int(mixed[0]),
    )
