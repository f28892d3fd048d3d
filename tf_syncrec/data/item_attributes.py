"""What is known of each item, as arrays and as one sparse matrix; needs no TensorFlow."""

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse

from data_prep.settings import ItemsConfig
from tf_syncrec.data.item_encoder import EncodedRows, ItemEncoder


@dataclasses.dataclass(frozen=True)
class ItemAttributes:
    """Attributes of the items of a catalogue, by item id; row 0 is padding, and empty.

    Attributes:
        tokens: `[items + 1, F]` int32, ids of attributes from 1, the heaviest first; 0 pads.
        weights: `[items + 1, F]` float32, of norm 1, or 0 for an item of which nothing is known.
        dense: `[items + 1, m]` float32: all vectors side by side, each of norm 1, or 0 where an
            item has none; None where there is no column of them.
        names: of attributes by id, `column=value`; the first one is "".
        column_of: `[size + 1]` int32, index into `columns` by attribute; -1 of padding.
        columns: names of the columns.
        encoder: finds the same attributes in another file.
    """

    tokens: np.ndarray
    weights: np.ndarray
    dense: np.ndarray | None
    names: tuple[str, ...]
    column_of: np.ndarray
    columns: tuple[str, ...]
    encoder: ItemEncoder

    @property
    def size(self) -> int:
        """How many attributes there are, padding apart."""
        return len(self.names) - 1

    def matrix(self) -> scipy.sparse.csr_array:
        """`[items + 1, size + 1]` float32: the weights; a row and the first column of padding."""
        return matrix_of(self.tokens, self.weights, self.size)

    def compared(self) -> tuple[scipy.sparse.csr_array, np.ndarray | None]:
        """What items are compared by, see the function."""
        return compared(self.tokens, self.weights, self.column_of, self.dense)


def compared(
    tokens: np.ndarray, weights: np.ndarray, column_of: np.ndarray, dense: np.ndarray | None
) -> tuple[scipy.sparse.csr_array, np.ndarray | None]:
    """What items are compared by: attributes and ready-made vectors, all columns counting alike.

    A vector has norm 1, and all attributes of an item together have norm 1 as well, of however many
    columns they are; here they count as many columns as they are of.

    Args:
        tokens: `[rows, F]` int, ids of attributes from 1; 0 pads.
        weights: the same shape.
        column_of: `[size + 1]` int, the column of each attribute.
        dense: `[rows, m]`, vectors side by side, each of norm 1 or 0; None where there is none.

    Returns:
        `[rows, size + 1]` and `dense`; the cosine of both together is the likeness of two rows.
    """
    if dense is not None:
        columns = np.sort(np.where(tokens > 0, column_of[tokens], -1), axis=1)
        first = np.diff(columns, axis=1, prepend=-1) > 0
        weights = weights * np.sqrt(first.sum(axis=1, keepdims=True)).astype(np.float32)
    return matrix_of(tokens, weights, len(column_of) - 1), dense


def matrix_of(tokens: np.ndarray, weights: np.ndarray, size: int) -> scipy.sparse.csr_array:
    """Weights of attributes as one sparse matrix, `[rows, size + 1]`.

    Args:
        tokens: `[rows, F]` int, ids of attributes from 1; 0 pads.
        weights: the same shape.
        size: how many attributes there are.
    """
    filled = tokens > 0
    starts = np.append(0, filled.sum(axis=1).cumsum())
    parts = (weights[filled], tokens[filled], starts)
    found = scipy.sparse.csr_array(parts, shape=(len(tokens), size + 1))
    found.sort_indices()
    return found


def load(prepared: Any) -> ItemAttributes | None:
    """Attributes of the items of a prepared dataset; None where no file of items was given.

    Args:
        prepared: a `PreparedDataset`, or what has its `catalogue`, `item_columns` and `settings`.
    """
    said = getattr(prepared, "item_columns", None)
    if said is None:
        return None
    data = getattr(prepared, "settings", None)
    items = ItemsConfig() if data is None else data.items
    trained = prepared.catalogue.counts > 0
    settings = items.text_tokens, items.max_tokens
    return of_catalogue(*ItemEncoder.fit(said.table, said.columns, trained, *settings))


def of_catalogue(encoder: ItemEncoder, found: EncodedRows) -> ItemAttributes:
    """Puts the row of padding before those of the items.

    Args:
        encoder: what has found them.
        found: attributes of all items of a catalogue, in its order.
    """
    arrays = (found.tokens, found.weights, found.dense)
    tokens, weights, dense = (None if a is None else np.pad(a, ((1, 0), (0, 0))) for a in arrays)
    assert tokens is not None and weights is not None
    names = tuple(column.name for column in encoder.columns)
    return ItemAttributes(tokens, weights, dense, encoder.names, encoder.column_of, names, encoder)
