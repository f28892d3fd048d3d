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
from tf_syncrec.data.text_tokens import Occurrences

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


@dataclasses.dataclass
class _Part:
    """What was found of one column: attributes from 0, of norm 1 in each row; or vectors."""

    rows: np.ndarray
    ids: np.ndarray
    weights: np.ndarray
    dense: np.ndarray | None = None


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
    ) -> tuple[Self, EncodedRows]:
        """Learns what attributes there are, and finds those of the same items.

        Args:
            table: `listed: bool` and the columns, an item a row, as `item_columns` stores them.
            columns: what they are.
            trained: `[rows]` bool, whether an item has training rows.
            text_tokens: of a column of text, words and word pairs that count, the most frequent.
            max_tokens: see above.
        """
        listed, vocabularies, parts = table["listed"].to_numpy(), [], []
        for column in columns:
            values = _whole(table, column)
            # One after the other: of a million texts the words alone are some hundred MiB.
            vocabulary, found = _fitted(column, values, listed, trained, text_tokens)
            vocabularies.append(vocabulary)
            parts.append(_found(vocabulary, values, listed, found))
        encoder = cls(vocabularies, max_tokens)
        return encoder, encoder._together(parts, len(table))

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
        listed = table["listed"].to_numpy()
        parts = [_found(v, _whole(table, v.column), listed) for v in self.vocabularies]
        return self._together(parts, len(table))

    def _together(self, parts: Sequence[_Part], size: int) -> EncodedRows:
        """Puts the attributes of all columns side by side; those of a column are used up."""
        first = 1
        for part, vocabulary in zip(parts, self.vocabularies, strict=True):
            part.ids += first
            first += len(vocabulary.keys)
        if not parts:
            parts = [_Part(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
        rows = np.concatenate([part.rows for part in parts])
        # Each column's have norm 1; that of all columns of an item becomes 1 at the end.
        weights = np.concatenate([part.weights for part in parts])
        ids = np.concatenate([part.ids for part in parts])
        vectors = [part.dense for part in parts if part.dense is not None]
        dense = np.concatenate(vectors, axis=1) if vectors else None
        return EncodedRows(*_padded(rows, ids, weights, size, self.max_tokens), dense)

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


def _fitted(
    column: Column, values: pa.Array, listed: np.ndarray, trained: np.ndarray, most: int
) -> tuple[Vocabulary, Occurrences | None]:
    """What there is in a column, and where."""
    nothing = np.empty(0)
    if column.kind == "vector":
        known = values.drop_null()
        empty = (nothing.astype(np.uint64), (), nothing.astype(np.float32), nothing)
        return Vocabulary(column, *empty, len(known[0]) if len(known) else 0), None
    edges = edges_of(values, trained) if column.kind == "number" else nothing
    found = tokens_of(column, values, edges)
    found = found if listed.all() else found.at(listed[found.rows])
    keys = _frequent(found.keys, most if column.kind in ("text", "title") else None)
    rows, codes, places = _among(found, keys)
    items = np.bincount(codes, minlength=len(keys))
    shared = items >= LEAST_ITEMS
    idf = np.ones(np.count_nonzero(shared))
    if IS_WEIGHTED(column.kind):
        idf = np.log1p(np.count_nonzero(np.diff(rows, prepend=-1)) / items[shared])
    names = tuple(found.names(places[shared]))
    return Vocabulary(column, keys[shared], names, idf.astype(np.float32), edges), found


def _frequent(keys: np.ndarray, most: int | None) -> np.ndarray:
    """Keys that come twice or more, ascending; no more than the `most` frequent ones."""
    # Not np.unique, which sorts places as well, or hashes, and takes several times as long.
    ordered = np.sort(keys)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    counts = np.diff(np.append(starts, len(ordered)))
    often = counts >= LEAST_ITEMS
    found, counts = ordered[starts[often]], counts[often]
    if most is not None and len(found) > most:
        found = np.sort(found[np.argsort(-counts, kind="stable")[:most]])
    return found


def _among(found: Occurrences, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where some keys were found.

    Returns:
        Rows and places among the keys, each key of a row once, in the order of both; and of each
        key one place among all that was found.
    """
    codes = np.searchsorted(keys, found.keys)
    codes[codes == len(keys)] = 0
    known = np.flatnonzero(keys[codes] == found.keys if len(keys) else np.zeros(len(codes), bool))
    codes, places = codes[known], np.zeros(len(keys), np.int64)
    places[codes] = known
    both = np.sort(found.rows[known].astype(np.int64) * max(len(keys), 1) + codes)
    both = both[np.diff(both, prepend=-1) > 0]
    return *np.divmod(both, max(len(keys), 1)), places


def _found(
    vocabulary: Vocabulary,
    values: pa.Array,
    listed: np.ndarray,
    found: Occurrences | None = None,
) -> _Part:
    if vocabulary.column.kind == "vector":
        nothing = np.empty(0, np.int64)
        dense = _unit_vectors(values, vocabulary.length)
        return _Part(nothing, nothing.copy(), np.empty(0), dense)
    if found is None:
        found = tokens_of(vocabulary.column, values, vocabulary.edges)
        found = found if listed.all() else found.at(listed[found.rows])
    rows, ids, _ = _among(found, vocabulary.keys)
    weights = vocabulary.idf[ids]
    norms = np.sqrt(np.bincount(rows, weights * weights, minlength=1))
    return _Part(rows, ids, (weights / norms[rows]).astype(np.float32))


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


def _padded(
    rows: np.ndarray, ids: np.ndarray, weights: np.ndarray, size: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Puts the attributes of each row side by side, the heaviest first, with weights of norm 1."""
    weights = np.asarray(weights, np.float32)
    # One sort in place of three: bits of floats above 0 are in the order of the floats. Those of
    # equal weight stay in the order of columns and keys.
    lightness = np.uint64(0x7F800000) - weights.view(np.uint32)
    order = np.argsort(rows.astype(np.uint64) << np.uint64(32) | lightness, kind="stable")
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
