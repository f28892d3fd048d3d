"""Finds the files of a source and learns each file's shape from its first bytes."""

from __future__ import annotations

import csv
import dataclasses
import glob
import gzip
import io
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from data_prep.errors import InputError
from data_prep.files import local_path

ROLES = ("user_id", "item_id", "domain", "timestamp")
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".csv.gz", ".tsv.gz", ".txt.gz")
# Formats that people do have and that would otherwise end in a message about strange bytes.
_FOREIGN = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz"}
# Files about a log, which a folder or a pattern may hold beside it.
_CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256", ".sha512", ".sig", ".asc")
_TEXTS = ("readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog")
_OF_TEXTS = ("", ".txt", ".md", ".rst", ".html", ".pdf")
# Types of Parquet columns, as the functions `pyarrow.types.is_*` are called.
_TEXT = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null")
_NUMBERS = ("integer", "float32", "float64", "decimal32", "decimal64", "decimal128", "date")
_IDS = (*_TEXT, *_NUMBERS, "fixed_size_binary", "boolean")
_TIMES = (*_TEXT, *_NUMBERS, "timestamp")
_SAID = {
    _IDS: "an id: text, bytes of UTF-8, a UUID, a number or a date",
    _TIMES: "a time: a number, a timestamp, a date, or either as text",
}
HEADER_LINES = 50  # Of one header, at most.
_SHOWN = 500  # Characters of a file's first line that a message repeats.
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
      plain: whether that line has no quotes but around whole names, and in these neither separators
        nor line ends. Behind another one the engine may find no rows, without a word.
      gzipped: whether a text file is compressed.
      parquet: whether this is a Parquet file.
      json: whether a text file holds a JSON object a line, in place of separated values.
      types: of the columns of a Parquet file, as Arrow calls them, or `INT96`.
    """

    path: Path
    label: str
    columns: tuple[str, ...]
    mapping: tuple[tuple[str, int], ...]
    domain: str | None = None
    separator: str = ","
    header: bool = True
    plain: bool = True
    gzipped: bool = False
    parquet: bool = False
    json: bool = False
    types: tuple[str, ...] = ()

    @property
    def shape(self) -> Source:
        """The same without the file's name: files of equal shape are read in one scan."""
        return dataclasses.replace(self, path=Path(), label="")


INT96 = "INT96"
"""A type of timestamps with nanoseconds that Parquet had, and some still write."""


class _NoRows(InputError):
    """A file is of the right kind and has nothing in it."""


def find_files(path: str | os.PathLike[str]) -> list[Path]:
    """Lists the files meant by a user's path.

    Args:
      path: a file, a folder (its data files, by suffix, not those in folders below) or a glob. In
        the last two, what is not meant as data is passed over, see `is_beside_the_data`.

    Returns:
      At least one file, sorted.

    Raises:
      InputError: nothing is there.
    """
    text = os.fspath(local_path(path))
    root = Path(text)
    if root.is_file():
        return [root]
    if root.is_dir():
        found = [p for p in root.iterdir() if p.is_file() and not is_beside_the_data(p.name)]
        found = [p for p in found if p.name.lower().endswith(SUFFIXES)]
        if not found:
            raise InputError(
                f"{path}: the folder has no data file; expected names ending in "
                f"{', '.join(SUFFIXES)}. Pass another --path."
            )
        return sorted(found)
    found = [Path(p) for p in glob.glob(text, recursive=True) if os.path.isfile(p)]
    # A pattern that asks for nothing else is meant as it is written.
    found = [p for p in found if not is_beside_the_data(p.name)] or found
    if not found:
        raise InputError(f"{path}: no such file, folder or pattern. Check --path.")
    return sorted(found)


def is_beside_the_data(name: str) -> bool:
    """Tells files that lie beside data: marks and checksums of whoever wrote them, a README."""
    stem, suffix = name.lower().partition(".")[0], os.path.splitext(name.lower())[1]
    return name[0] in "._" or suffix in _CHECKSUMS or (stem in _TEXTS and suffix in _OF_TEXTS)


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
        with open_bytes(path, gzipped) as file:
            # All line ends are taken, also those of one carriage return.
            text = io.TextIOWrapper(file, "utf-8-sig", errors="backslashreplace")
            while len(lines) < most and (line := text.readline(1 << 20)):
                if line.strip():
                    lines.append(line.rstrip("\n"))
    except DAMAGED_GZIP:
        if lines:
            return lines, gzipped  # What is cut off is told when the rows are read.
        raise InputError(f"{label}: the gzip data is damaged or cut off; fetch it again.") from None
    except OSError as error:
        raise InputError(f"{label}: cannot be read ({error.strerror or error}).") from None
    if not lines:
        raise _NoRows(f"{label}: the file is empty; expected a header line and rows.")
    return lines, gzipped


def split_record(lines: Sequence[str], separator: str, label: str) -> tuple[list[str], int]:
    """Splits the first record of a file, called `label`, as the CSV readers do.

    Returns:
      The fields, and of how many lines they are: in quotes may be line ends.

    Raises:
      InputError: it is none of separated values.
    """
    # Blanks before a quote are none of a field; the library knows of the space alone.
    quote = re.compile(f'(^|{separator})[^\\S{separator}]+(?=")')
    text = (quote.sub(r"\1", f"{line}\n") for line in lines)
    reader = csv.reader(text, delimiter=separator, skipinitialspace=True)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        raise InputError(f"{label}: line 1 is no line of separated values ({error}).") from None


def user_sources(
    path: str | os.PathLike[str], columns: Mapping[str, str] | None = None
) -> list[Source]:
    """Finds a user's own files and their shapes.

    Of several files those without rows are passed over; who writes in parallel leaves them.

    Args:
      path: file, folder or glob; see `find_files`.
      columns: role to column name; see `user_source`.

    Returns:
      One source a file.

    Raises:
      InputError: a file cannot be read, lacks a column, or none has rows.
    """
    sources, nothing = [], None
    for file in find_files(path):
        try:
            sources.append(user_source(file, columns))
        except _NoRows as error:
            nothing = nothing or error
    if nothing is not None and not sources:
        raise nothing
    return sources


def user_source(path: Path, columns: Mapping[str, str] | None = None) -> Source:
    """Learns the shape of a user's own file.

    Args:
      path: CSV, TSV (or `;`-separated), plain or gzip, or Parquet.
      columns: role to column name, for columns that are not named after their role.

    Returns:
      The source.

    Raises:
      InputError: the file cannot be read, or a column is missing or is neither ids nor times.
    """
    # A name need not be text.
    label = str(path).encode(errors="backslashreplace").decode()
    names = {role: role for role in ROLES} | dict(columns or {})
    if unknown := sorted(set(names) - set(ROLES)):
        raise InputError(
            f"data.columns.{unknown[0]}: no such role; the columns to name are {', '.join(ROLES)}."
        )
    if is_parquet(path):
        return _parquet_source(path, label, names)
    lines, gzipped = head(path, label, HEADER_LINES + 1)
    names = {role: name.strip() for role, name in names.items()}
    separator, present, taken = header_of(lines, names, label)
    mapping = _mapping(label, present, names)
    if len(lines) <= taken:
        raise _NoRows(f"{label}: has a header line and no rows; expected interactions.")
    plain = is_plain(lines[0], separator)
    return Source(path, label, present, mapping, separator=separator, plain=plain, gzipped=gzipped)


def is_plain(line: str, separator: str) -> bool:
    """Whether a header has no quotes but around whole names, see `Source.plain`."""
    field = f'"[^"{separator}]*"|[^"{separator}]*'
    return re.fullmatch(f"(?:{field})(?:{separator}(?:{field}))*", line) is not None


def header_of(
    lines: Sequence[str], names: Mapping[str, str], label: str
) -> tuple[str, tuple[str, ...], int]:
    """Finds the separator, the names of columns, and how many lines these take.

    The header decides, not the file's name: exports named .csv are often tab-separated. Names of
    other columns may hold more of what does not separate, and tabs may be blanks around commas.
    """
    found: list[tuple[str, tuple[str, ...], int]] = []
    for separator in sorted("\t,;", key=lines[0].count, reverse=True):
        try:
            split, taken = split_record(lines, separator, label)
        except InputError:
            if not found:
                raise
            continue
        found.append((separator, tuple(name.strip() for name in split), taken))
    fitting = [header for header in found if names and set(names.values()) <= set(header[1])]
    return min(fitting, key=lambda header: len(header[1]), default=found[0])


def _parquet_source(path: Path, label: str, names: Mapping[str, str]) -> Source:
    import pyarrow as pa  # A log of text needs none of it to be refused.
    import pyarrow.parquet as pq

    try:
        # Not by its name, which Arrow may take for an address.
        with path.open("rb") as handle, pq.ParquetFile(handle) as file:
            schema = file.schema_arrow
            leaves = [file.schema.column(i) for i in range(len(file.schema))]
    except (OSError, pa.ArrowException) as error:
        detail = str(error).splitlines()[0]
        raise InputError(f"{label}: is not a readable Parquet file ({detail}).") from None
    present = tuple(schema.names)
    if not set(names.values()) <= set(present):  # A name as it is asked for goes first.
        present = tuple(name.strip() for name in present)
        names = {role: name.strip() for role, name in names.items()}
    mapping = _mapping(label, present, names)
    for role, i in mapping:
        kind, expected = schema.types[i], _TIMES if role == "timestamp" else _IDS
        plain = getattr(kind, "storage_type", getattr(kind, "value_type", kind))
        if kind.num_fields or not any(getattr(pa.types, f"is_{name}")(plain) for name in expected):
            raise InputError(
                f"{label}: column '{schema.names[i]}' (for {role}) is of type {kind}; expected "
                f"{_SAID[expected]}. Name another column with --set data.columns.{role}=NAME."
            )
    old = {leaf.path for leaf in leaves if leaf.physical_type == INT96}
    types = tuple(INT96 if f.name in old else str(f.type) for f in schema)
    # Names as they are: by these the engine finds columns in all files of one shape.
    return Source(path, label, tuple(schema.names), mapping, parquet=True, types=types)


def is_parquet(path: Path) -> bool:
    """Tells a Parquet file, by its bytes or its name.

    Raises:
      InputError: it cannot be read.
    """
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
            there = ", ".join(present)
            there = there if len(there) <= _SHOWN else there[:_SHOWN] + "…"
            raise InputError(
                f"{label}: {problem} '{names[role]}' (for {role}); it has "
                f"{there}. Name the right one with --set data.columns.{role}=NAME."
            )
    return tuple((role, present.index(names[role])) for role in ROLES)
