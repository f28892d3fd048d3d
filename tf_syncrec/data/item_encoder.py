"""Attributes of items, learned on one file of items and found again in others.

An attribute is a token of a column that two items or more have: what one item has alone says
nothing of another. Of a column an item's attributes have weights of norm 1, of tokens, paths and
text by the inverse document frequency log(1 + n / df); all columns that an item has count alike, so
that the weights of an item have norm 1.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from data_prep.files import written_whole
from data_prep.read.items.kinds import Column
from tf_syncrec.data.column_tokens import IS_WEIGHTED, edges_of, tokens_of

LEAST_ITEMS = 2
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The attributes of one column.

    Attributes:
        column: what it is.
        keys: `[attributes]` uint64, ascending, see `text_tokens`.
        names: of each, to read.
        idf: `[attributes]` float32; 1 where a cell has one token alone.
        edges: of a number, between its bins.
        length: of a vector.
    """

    column: Column
    keys: np.ndarray
    names: tuple[str, ...]
    idf: np.ndarray
    edges: np.ndarray
    length: int = 0


@dataclasses.dataclass(frozen=True)
class EncodedRows:
    """Attributes of some items, one a row.

    Attributes:
        tokens: `[rows, F]` int32, ids from 1, the heaviest first; 0 pads.
        weights: `[rows, F]` float32, of norm 1, or 0 where an item has no attribute.
        dense: `[rows, m]` float32: all vectors, each of norm 1, or 0 where it is missing; None
            where there is no column of them.
    """

    tokens: np.ndarray
    weights: np.ndarray
    dense: np.ndarray | None


class ItemEncoder:
    """What was learned of the columns of a file.

    Args:
        vocabularies: of the columns, also those of vectors, which have no attributes.
        max_tokens: attributes of an item that count.
    """

    def __init__(self, vocabularies: Sequence[Vocabulary], max_tokens: int):
        self.vocabularies, self.max_tokens = tuple(vocabularies), max_tokens

    @classmethod
    def fit(
        cls,
        table: pa.Table,
        columns: Sequence[Column],
        trained: np.ndarray,
        text_tokens: int,
        max_tokens: int,
    ) -> Self:
        """Learns what attributes there are.

        Args:
            table: `listed: bool` and the columns, an item a row, as `item_columns` stores them.
            columns: what they are.
            trained: `[rows]` bool, whether an item has training rows.
            text_tokens: of a column of text, words and word pairs that count, those of most items.
            max_tokens: see above.
        """
        listed = table["listed"].to_numpy()
        known, trained = table.filter(pa.array(listed)), trained[listed]
        return cls(
            [_fitted(column, _whole(known, column), trained, text_tokens) for column in columns],
            max_tokens,
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the columns are, to read another file alike: `read_items(file, columns=...)`."""
        return tuple(vocabulary.column for vocabulary in self.vocabularies)

    @property
    def names(self) -> tuple[str, ...]:
        """Attributes by id, `column=value`; the first one is "", of padding."""
        return (
            "",
            *(f"{v.column.name}={name}" for v in self.vocabularies for name in v.names),
        )

    @property
    def column_of(self) -> np.ndarray:
        """`[size + 1]` int32: index into `columns` by attribute; -1 of padding."""
        sizes = [len(v.keys) for v in self.vocabularies]
        return np.append(-1, np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)

    def encode(self, table: pa.Table) -> EncodedRows:
        """Finds the attributes of items.

        Args:
            table: as of `fit`. Values that were not there have no attribute.
        """
        rows, ids, weights = [], [], []
        listed, first, vectors = table["listed"].to_numpy(), 1, []
        counts = np.zeros(len(table), np.int32)
        for vocabulary in self.vocabularies:
            values = _whole(table, vocabulary.column)
            if vocabulary.column.kind == "vector":
                vectors.append(_unit_vectors(values, vocabulary.length))
                continue
            row, code, weight = _found(vocabulary, values, listed)
            counts[row[np.diff(row, prepend=-1) > 0]] += 1
            rows.append(row)
            ids.append(code + first)
            weights.append(weight)
            first += len(vocabulary.keys)
        dense = np.concatenate(vectors, axis=1) if vectors else None
        if not rows:
            return EncodedRows(*_padded([], [], [], len(table), self.max_tokens), dense)
        row = np.concatenate(rows)
        weight = np.concatenate(weights) / np.sqrt(counts[row])
        found = _padded(row, np.concatenate(ids), weight, len(table), self.max_tokens)
        return EncodedRows(*found, dense)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes what was learned into one `.npz` file."""
        arrays = {
            f"{name}_{number}": getattr(vocabulary, name)
            for number, vocabulary in enumerate(self.vocabularies)
            for name in ("keys", "idf", "edges")
        }
        facts = {
            "version": _VERSION,
            "max_tokens": self.max_tokens,
            "columns": [
                dataclasses.asdict(v.column) | {"names": v.names, "length": v.length}
                for v in self.vocabularies
            ],
        }
        text = json.dumps(facts, ensure_ascii=False).encode()
        with written_whole(Path(path)) as new, new.open("wb") as file:
            np.savez_compressed(file, facts=np.frombuffer(text, np.uint8), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(stored["facts"].tobytes())
            if facts["version"] != _VERSION:
                raise ValueError(f"{path}: is of version {facts['version']}, not {_VERSION}.")
            vocabularies = [
                Vocabulary(
                    Column(*(of[name] for name in ("name", "kind", "separator"))),
                    stored[f"keys_{number}"],
                    tuple(of["names"]),
                    stored[f"idf_{number}"],
                    stored[f"edges_{number}"],
                    of["length"],
                )
                for number, of in enumerate(facts["columns"])
            ]
        return cls(vocabularies, facts["max_tokens"])


def _whole(table: pa.Table, column: Column) -> pa.Array:
    values = table[column.name].combine_chunks()
    return pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values


def _fitted(column: Column, values: pa.Array, trained: np.ndarray, most: int) -> Vocabulary:
    nothing = np.empty(0)
    if column.kind == "vector":
        known = values.drop_null()
        length = len(known[0]) if len(known) else 0
        empty = (nothing.astype(np.uint64), (), nothing.astype(np.float32), nothing)
        return Vocabulary(column, *empty, length)
    edges = edges_of(values, trained) if column.kind == "number" else nothing
    found = tokens_of(column, values, edges)
    keys, places, codes, counts = np.unique(
        found.keys, return_index=True, return_inverse=True, return_counts=True
    )
    often = counts >= LEAST_ITEMS  # Of the others none can be on two items.
    of_often = (np.cumsum(often) - 1)[codes]
    kept = often[codes]
    row, code = _distinct(found.rows[kept], of_often[kept], int(often.sum()))
    keys, places = keys[often], places[often]
    items = np.bincount(code, minlength=len(keys))
    chosen = items >= LEAST_ITEMS
    if column.kind in ("text", "title") and chosen.sum() > most:
        order = np.lexsort((keys, -items))[:most]
        chosen &= np.isin(np.arange(len(keys)), order)
    total = np.count_nonzero(np.diff(row, prepend=-1))
    idf = np.log1p(total / items[chosen]) if IS_WEIGHTED(column.kind) else np.ones(chosen.sum())
    names = tuple(found.names(places[chosen]))
    return Vocabulary(column, keys[chosen], names, idf.astype(np.float32), edges)


def _distinct(rows: np.ndarray, codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Each token of a row once, in the order of rows and codes."""
    both = np.sort(rows.astype(np.int64) * max(size, 1) + codes)
    # Not np.unique, which hashes, and takes ten times as long.
    both = both[np.diff(both, prepend=-1) > 0]
    return both // max(size, 1), both % max(size, 1)


def _found(
    vocabulary: Vocabulary, values: pa.Array, listed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, attributes from 0 and weights, of norm 1 in each row, of one column."""
    found, keys = tokens_of(vocabulary.column, values, vocabulary.edges), vocabulary.keys
    places = np.searchsorted(keys, found.keys)
    places[places == len(keys)] = 0
    known = (keys[places] == found.keys) if len(keys) else np.zeros(len(places), bool)
    known &= listed[found.rows]
    rows, codes = _distinct(found.rows[known], places[known], len(keys))
    weights = vocabulary.idf[codes]
    norms = np.sqrt(np.bincount(rows, weights * weights, minlength=1))
    return rows, codes, weights / norms[rows]


def _unit_vectors(values: pa.Array, length: int) -> np.ndarray:
    dense = np.zeros((len(values), length), np.float32)
    known = values.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        return dense
    numbers = values.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if len(numbers) != known.sum() * length:
        raise ValueError(f"Vectors must have {length} numbers. Received: {len(numbers)} in all.")
    vectors = numbers.reshape(-1, length)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    dense[known] = vectors / np.where(norms > 0, norms, 1)
    return dense


def _padded(rows, ids, weights, size: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Puts the attributes of each row side by side, the heaviest first, with weights of norm 1."""
    rows, ids = np.asarray(rows, np.uint64), np.asarray(ids)
    weights = np.asarray(weights, np.float32)
    # One sort in place of three: bits of floats above 0 are in the order of the floats. Those of
    # equal weight stay in the order of columns and keys.
    lightness = np.uint64(0x7F800000) - weights.view(np.uint32)
    order = np.argsort(rows << np.uint64(32) | lightness, kind="stable")
    rows = rows.astype(np.int64)
    rows, ids, weights = rows[order], ids[order], weights[order]
    counts = np.bincount(rows, minlength=size)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = max(1, min(most, int(counts.max(initial=0))))
    kept = place < width
    tokens = np.zeros((size, width), np.int32)
    padded = np.zeros((size, width), np.float32)
    tokens[rows[kept], place[kept]] = ids[kept]
    padded[rows[kept], place[kept]] = weights[kept]
    norms = np.linalg.norm(padded.astype(np.float64), axis=1, keepdims=True)
    return tokens, (padded / np.where(norms > 0, norms, 1)).astype(np.float32)
