"""Finds the files of a source and learns each file's shape from its first bytes."""

from __future__ import annotations

import csv
import dataclasses
import glob
import gzip
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

from data_prep.errors import InputError

ROLES = ("user_id", "item_id", "domain", "timestamp")
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz", ".txt.gz")
# Formats that people do have and that would otherwise end in a message about strange bytes.
_FOREIGN = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz"}
DAMAGED_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)


@dataclasses.dataclass(frozen=True)
class Source:
    """One file, and how its rows become interactions.

    Attributes:
      path: the file.
      label: how to call the file in a message (a downloaded file has a strange path).
      columns: names of all columns in file order.
      mapping: role (see `ROLES`) and the position of its column, in pairs.
      domain: domain of every row, for sources with one file a domain.
      separator: of a text file.
      header: whether a text file's first line holds names.
      gzipped: whether a text file is compressed.
      parquet: whether this is a Parquet file.
      json: whether a text file holds a JSON object a line, in place of separated values.
    """

    path: Path
    label: str
    columns: tuple[str, ...]
    mapping: tuple[tuple[str, int], ...]
    domain: str | None = None
    separator: str = ","
    header: bool = True
    gzipped: bool = False
    parquet: bool = False
    json: bool = False

    @property
    def shape(self) -> Source:
        """The same without the file's name: files of equal shape are read in one scan."""
        return dataclasses.replace(self, path=Path(), label="")


def find_files(path: str | os.PathLike[str]) -> list[Path]:
    """Lists the files meant by a user's path.

    Args:
      path: a file, a folder (its data files, by suffix, not those in folders below; names that
        start with `.` or `_` are skipped, as Spark's own marks do) or a glob.

    Returns:
      At least one file, sorted.

    Raises:
      InputError: nothing is there.
    """
    text = os.path.expanduser(os.fspath(path))
    root = Path(text)
    if root.is_file():
        return [root]
    if root.is_dir():
        found = [p for p in root.iterdir() if p.is_file() and p.name[0] not in "._"]
        found = [p for p in found if p.name.lower().endswith(SUFFIXES)]
        if not found:
            raise InputError(
                f"{path}: the folder has no data file; expected names ending in "
                f"{', '.join(SUFFIXES)}. Pass another --path."
            )
        return sorted(found)
    found = [Path(p) for p in glob.glob(text, recursive=True) if os.path.isfile(p)]
    if not found:
        raise InputError(f"{path}: no such file, folder or pattern. Check --path.")
    return sorted(found)


def open_bytes(path: Path, gzipped: bool) -> IO[bytes]:
    """Opens a plain or compressed file for reading."""
    return cast(IO[bytes], gzip.open(path, "rb")) if gzipped else path.open("rb")


def head(path: Path, label: str, most: int = 2) -> tuple[list[str], bool]:
    """Reads the first lines that hold anything.

    Args:
      path: a text file, plain or gzip (told by its bytes, not its name).
      label: how to call it in a message.
      most: how many lines.

    Returns:
      Up to `most` lines without their ends (bytes that are no UTF-8 are spelt out), and whether the
      file is compressed.

    Raises:
      InputError: the file is empty, unreadable or damaged.
    """
    lines: list[str] = []
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        gzipped = magic.startswith(b"\x1f\x8b")
        for start, name in _FOREIGN.items():
            if magic.startswith(start):
                raise InputError(f"{label}: is a {name} file; unpack it, or compress with gzip.")
        if magic.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError(f"{label}: is written in UTF-16; write it as UTF-8.")
        codec = "utf-8-sig"
        with open_bytes(path, gzipped) as file:
            while len(lines) < most and (raw := file.readline(1 << 20)):
                text = raw.decode(codec, "backslashreplace").rstrip("\r\n")
                codec = "utf-8"
                if text.strip():
                    lines.append(text)
    except DAMAGED_GZIP:
        if lines:
            return lines, gzipped  # What is cut off is told when the rows are read.
        raise InputError(f"{label}: the gzip data is damaged or cut off; fetch it again.") from None
    except OSError as error:
        raise InputError(f"{label}: cannot be read ({error.strerror or error}).") from None
    if not lines:
        raise InputError(f"{label}: the file is empty; expected a header line and rows.")
    return lines, gzipped


def split_line(line: str, separator: str) -> list[str]:
    """Splits one line as the CSV readers do."""
    return next(csv.reader([line], delimiter=separator))


def user_sources(
    path: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> list[Source]:
    """Finds a user's own files and their shapes.

    Args:
      path: file, folder or glob; see `find_files`.
      columns: role to column name; see `user_source`.

    Returns:
      One source a file.

    Raises:
      InputError: a file cannot be read or lacks a column.
    """
    return [user_source(file, columns) for file in find_files(path)]


def user_source(path: Path, columns: Mapping[str, str] | None = None) -> Source:
    """Learns the shape of a user's own file.

    Args:
      path: CSV, TSV (or `;`-separated), plain or gzip, or Parquet.
      columns: role to column name, for columns that are not named after their role.

    Returns:
      The source.

    Raises:
      InputError: the file cannot be read or a column is missing.
    """
    label = str(path)
    names = {role: role for role in ROLES} | dict(columns or {})
    if unknown := sorted(set(names) - set(ROLES)):
        raise InputError(
            f"data.columns.{unknown[0]}: no such role; the columns to name are {', '.join(ROLES)}."
        )
    if _is_parquet(path):
        import pyarrow as pa  # A log of text needs none of it to be refused.
        import pyarrow.parquet as pq

        try:
            present = tuple(pq.read_schema(path).names)
        except (OSError, pa.ArrowException) as error:
            detail = str(error).splitlines()[0]
            raise InputError(f"{label}: is not a readable Parquet file ({detail}).") from None
        return Source(path, label, present, _mapping(label, present, names), parquet=True)
    lines, gzipped = head(path, label)
    # The header decides, not the file's name: exports named .csv are often tab-separated.
    separator = max("\t,;", key=lines[0].count)
    present = tuple(name.strip() for name in split_line(lines[0], separator))
    mapping = _mapping(label, present, names)
    if len(lines) < 2:
        raise InputError(f"{label}: has a header line and no rows; expected interactions.")
    return Source(path, label, present, mapping, separator=separator, gzipped=gzipped)


def _is_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1" or path.name.lower().endswith(".parquet")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _mapping(
    label: str, present: tuple[str, ...], names: Mapping[str, str]
) -> tuple[tuple[str, int], ...]:
    for role in ROLES:
        if (times := present.count(names[role])) != 1:
            problem = "has no column" if times == 0 else f"has {times} columns named"
            raise InputError(
                f"{label}: {problem} '{names[role]}' (for {role}); it has "
                f"{', '.join(present)}. Name the right one with --set data.columns.{role}=NAME."
            )
    return tuple((role, present.index(names[role])) for role in ROLES)
