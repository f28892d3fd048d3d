"""Reads text files record by record, and says of each what is wrong with it.

The engine reads files in bulk and takes a file whole or not at all. A file that it does not take is
read here: slower, in constant memory, with the number of each line. What both accept they read
alike, so that it does not matter to the rows of a file who reads it.
"""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from data_prep.read.sources import DAMAGED_GZIP, Source, open_bytes

_LONGEST = 1 << 21  # Characters of a record, as DuckDB has it.
CUT_OFF = "gzip data that is damaged or cut off: what follows is lost"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record of a text file.

    Attributes:
      line: the line it starts on, from 1.
      text: the record as it is in the file; bytes that are no UTF-8 are spelt out.
      values: role to value, `None` where a JSON object has none.
      fault: what makes it unusable, with `values` empty; `None` where it can be read.
    """

    line: int
    text: str
    values: dict[str, str | None]
    fault: str | None = None


def records(source: Source) -> Iterator[Record]:
    """Reads a text file.

    Args:
      source: CSV, TSV or JSON lines, plain or gzip.

    Yields:
      Its records in file order, without the header and lines of blanks. A record with broken
      quoting is one line; reading goes on with the next.
    """
    with open_bytes(source.path, source.gzipped) as file:
        # JSON takes a lone carriage return for a blank, CSV for the end of a line.
        ends = "\n" if source.json else ""
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=ends)
        lines = _Lines(text)
        yield from _json(lines, source) if source.json else _separated(lines, source)
        if lines.cut_off:
            yield Record(lines.number + 1, "", {}, CUT_OFF)


class _Lines:
    """Lines with their ends, some of which may be given back to be read again."""

    def __init__(self, file: io.TextIOWrapper):
        self.number = 0  # of the line that was read last
        self.cut_off = False
        self._file = file
        self._again: collections.deque[str] = collections.deque()

    def read(self) -> str:
        """Returns the next line, and an empty string at the end."""
        if self._again:
            line = self._again.popleft()
        else:
            try:
                line = self._file.readline(_LONGEST)
            except DAMAGED_GZIP:
                self.cut_off = True
                line = ""
        self.number += bool(line)
        return line

    def give_back(self, lines: list[str]) -> None:
        """Puts the lines read last back in front."""
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)


def _separated(lines: _Lines, source: Source) -> Iterator[Record]:
    width = len(source.columns)
    split = _Splitter(source.separator, width)
    roles = [role for role, _ in source.mapping]
    places = [i for _, i in source.mapping]
    skip = source.header
    while line := lines.read():
        start, text = lines.number, line.rstrip("\r\n")
        if not text.strip():
            continue
        if '"' in text:
            fields, text = split.quoted(lines, line)
        else:
            fields = _trimmed(text.split(source.separator), width)
        if skip:
            skip = False
            continue
        if fields is None:
            yield Record(start, _shown(text), {}, "broken quoting")
            continue
        if len(fields) != width:
            fault = f"{len(fields)} fields where {width} are expected"
            yield Record(start, _shown(text), {}, fault)
            continue
        yield _record(start, text, dict(zip(roles, (fields[i] for i in places), strict=True)))


def _trimmed(fields: list[str], width: int) -> list[str]:
    """Drops empty fields behind the last one, as spreadsheets write them."""
    while len(fields) > width and not fields[-1]:
        fields.pop()
    return fields


class _Splitter:
    """Splits records that hold quotes.

    The standard library's reader takes neither a blank beside a quote nor goes on after an error.
    """

    def __init__(self, separator: str, width: int):
        self._width = width
        end = f"(?={re.escape(separator)}|[\r\n]*\\Z)"
        blanks = f"[^\\S\r\n{re.escape(separator)}]*"
        self._quoted = re.compile(f'{blanks}"((?:[^"]|"")*+)"{blanks}{end}')
        self._open = re.compile(f'{blanks}"(?:[^"]|"")*+\\Z')
        self._plain = re.compile(f'(?!{blanks}")[^{re.escape(separator)}\r\n]*{end}')

    def quoted(self, lines: _Lines, line: str) -> tuple[list[str] | None, str]:
        """Reads on to the end of a record.

        Args:
          lines: where it goes on.
          line: its first line.

        Returns:
          Its fields and its text; no fields and the first line alone where quoting is broken.
          So a stray quote costs its own line and not those up to the next quote.
        """
        parts, size = [line], len(line)
        while True:
            text = "".join(parts)
            fields = self._split(text)
            if fields is not None:
                fields = _trimmed(fields, self._width)
                if len(parts) > 1 and len(fields) != self._width:
                    break  # A stray quote has met another one lines below.
                return fields, text.rstrip("\r\n")
            if not self._unfinished:
                break
            more: list[str] = []
            while size <= _LONGEST and (following := lines.read()):
                more.append(following)
                size += len(following)
                if '"' in following:
                    break
            parts += more
            if not more or '"' not in more[-1]:
                break
        lines.give_back(parts[1:])
        return None, line.rstrip("\r\n")

    def _split(self, text: str) -> list[str] | None:
        fields: list[str] = []
        place, self._unfinished = 0, False
        while True:
            if match := self._quoted.match(text, place):
                fields.append(match[1].replace('""', '"'))
            elif match := self._plain.match(text, place):
                fields.append(match[0])
            else:
                self._unfinished = self._open.match(text, place) is not None
                return None
            if not text[match.end() :].rstrip("\r\n"):
                return fields
            place = match.end() + 1


def _json(lines: _Lines, source: Source) -> Iterator[Record]:
    decode = json.JSONDecoder(object_pairs_hook=_distinct, parse_float=_number).decode
    keys = [(role, source.columns[i]) for role, i in source.mapping]
    while line := lines.read():
        text = line.strip(" \t\r\n")
        if not text:
            continue
        try:
            row = decode(text)
        except (ValueError, RecursionError):
            row = _NOTHING
        if isinstance(row, dict):
            values = {role: _json_text(row.get(key)) for role, key in keys}
            yield _record(lines.number, text, values, whole=True)
        else:
            yield Record(lines.number, _shown(text), {}, "no JSON object")


_NOTHING = object()


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("A key comes twice.")
    return row


def _number(text: str) -> float | str:
    number = float(text)
    return text if math.isinf(number) else number


def _json_text(value: Any) -> str | None:
    """A value as DuckDB writes it into a column of text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _record(line: int, text: str, values: dict[str, str | None], whole: bool = False) -> Record:
    checked = itertools.chain([("row", text)] if whole else [], values.items())
    for role, value in checked:
        if value and not value.isascii() and not _encodes(value):
            return Record(line, _shown(text), {}, f"{role} that is not UTF-8")
    return Record(line, _shown(text), values)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(text: str) -> str:
    if text.isascii():
        return text
    raw = text.encode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "backslashreplace")
