"""Negatives as a file, so that anybody can score another model on the same candidates."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from data_prep import Catalogue, InputError, PreparedDataset
from data_prep.files import written_whole
from tf_syncrec.evaluation.sampled import NEGATIVES
from tf_syncrec.evaluation.sampled.negatives import SEED, draw_negatives, not_drawn

USERS_AT_ONCE = 8192
"""Rows of the dataset read, drawn for and written at a time."""

_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("domain", pa.string()),
        ("item_id", pa.string()),
        ("negatives", pa.list_(pa.string())),
    ]
)
_DRAWN_FROM = b"drawn_from"  # of the metadata: what the file belongs to, as JSON


class StoredNegatives:
    """Negatives of every user of a split.

    Args:
        user_ids: `[users]` bytes, each once.
        target_ids: `[users]` bytes, raw ids of the targets.
        items: `[users, count]` int32, 0 where there are fewer.
    """

    def __init__(self, user_ids: np.ndarray, target_ids: np.ndarray, items: np.ndarray):
        self.user_ids, self.target_ids, self.items = user_ids, target_ids, items
        # The static kind of table refuses a split without users.
        self._rows = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self._rows.insert(tf.constant(user_ids, tf.string), np.arange(len(user_ids)))

    def rows(self, user_ids) -> np.ndarray:
        """Where the users are in the arrays, `[batch]` int64; -1 for somebody unknown."""
        return self._rows.lookup(tf.convert_to_tensor(user_ids)).numpy()

    @property
    def count(self) -> int:
        """How many were to be drawn for each user."""
        return self.items.shape[1]

    def of(self, user_ids) -> np.ndarray:
        """Negatives of users of the split, `[batch, count]` int32."""
        return self.items[self.rows(user_ids)]

    @property
    def users_with_fewer(self) -> int:
        """How many users have fewer than `count`, since no more items were left."""
        return int((self.items == 0).any(axis=1).sum())


def stored_negatives(
    file: Path, prepared: PreparedDataset, split: str, protocol: str, count: int = NEGATIVES
) -> StoredNegatives:
    """Reads the negatives of a split; draws and writes them first if there is no such file.

    Args:
        file: the Parquet file: `user_id, domain, item_id` (the target), `negatives` (raw item ids),
            one row a user.
        prepared: the dataset.
        split: `validation` or `test`.
        protocol: one of `SAMPLED`.
        count: how many to draw for each target.

    Raises:
        InputError: the file was made from something else, or cannot be written.
    """
    drawn_from = {
        "protocol": protocol,
        "dataset": prepared.name,
        "split": split,
        "count": count,
        "seed": SEED,
    }
    if not file.exists():
        try:
            _write(file, prepared, drawn_from)
        except OSError as error:
            raise InputError(
                f"--protocol {protocol}: {file} cannot be written ({error.strerror or error})"
            ) from None
    try:
        stored = _read(file, prepared.catalogue, drawn_from)
        _check(stored, prepared, split)
    except (_OfSomethingElse, *_DAMAGED) as error:
        raise InputError(
            f"--protocol {protocol}: {file} does not belong to this run's data ({error}); delete "
            "it, and the negatives are drawn again"
        ) from None
    return stored


_DAMAGED = (pa.ArrowException, OSError, ValueError, LookupError, AttributeError, TypeError)
"""What PyArrow and those who take its columns make of a file that is damaged."""


class _OfSomethingElse(Exception):
    """The file holds other negatives than are asked for; says which."""


def _write(file: Path, prepared: PreparedDataset, drawn_from: dict) -> None:
    catalogue, split = prepared.catalogue, drawn_from["split"]
    names = np.array(catalogue.domains, object)
    schema = _SCHEMA.with_metadata({_DRAWN_FROM: json.dumps(drawn_from)})
    with (
        written_whole(file) as new,
        pq.ParquetWriter(new, schema, write_page_checksum=True) as writer,
    ):
        # In the fixed order of the split: that of evaluation batches depends on their size.
        for rows in prepared.as_dataset(split).ragged_batch(USERS_AT_ONCE):
            items = draw_negatives(
                drawn_from["protocol"],
                f"{prepared.name} {split}",
                rows,
                catalogue,
                drawn_from["count"],
            )
            ends = np.cumsum((items > 0).sum(axis=1))
            columns = [
                pa.array(rows["user_id"].numpy(), pa.binary()).cast(pa.string()),
                pa.array(names[rows["domain"].numpy()], pa.string()),
                pa.array(rows["target_item_id"].numpy(), pa.binary()).cast(pa.string()),
                pa.ListArray.from_arrays(
                    pa.array(np.concatenate([[0], ends]), pa.int32()),
                    pa.array(catalogue.item_ids[items[items > 0] - 1], pa.string()),
                ),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _read(file: Path, catalogue: Catalogue, expected: dict) -> StoredNegatives:
    known, count = pa.array(catalogue.item_ids, pa.string()), expected["count"]
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        received = json.loads((parquet.schema_arrow.metadata or {}).get(_DRAWN_FROM, b"{}"))
        for key, value in expected.items():
            if received.get(key) != value:
                raise _OfSomethingElse(f"its {key} is {received.get(key)}, not {value}")
        parts = [(np.empty(0, object), np.empty(0, object), np.empty((0, count), np.int32))]
        for group in range(parquet.num_row_groups):  # strings take many times the room of ids
            table = parquet.read_row_group(group)
            negatives = table["negatives"].combine_chunks()
            index = pc.index_in(negatives.flatten(), value_set=known)
            if index.null_count:
                raw = negatives.flatten().filter(index.is_null())[0]
                raise _OfSomethingElse(f"training has no item {raw}")
            number = pc.list_value_length(negatives).to_numpy()[:, None]
            items = np.zeros((len(table), count), np.int32)
            items[np.arange(count) >= count - number] = index.to_numpy() + 1
            user_ids, target_ids = (
                table[name].cast(pa.binary()).to_numpy() for name in ("user_id", "item_id")
            )
            parts.append((user_ids, target_ids, items))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    users = pa.array(columns[0], pa.binary())
    if pc.count_distinct(users).as_py() < len(users):
        raise _OfSomethingElse("it has a user twice")
    return StoredNegatives(*columns)


def _check(stored: StoredNegatives, prepared: PreparedDataset, split: str) -> None:
    """Raises _OfSomethingElse if users, targets or histories are not those of the split."""
    base = prepared.catalogue.num_items + 1
    users = 0
    for batch in prepared.as_dataset(split).ragged_batch(USERS_AT_ONCE):
        user_ids = batch["user_id"].numpy()
        users += len(user_ids)
        rows = stored.rows(user_ids)
        other = rows < 0
        if not other.any():
            other = stored.target_ids[rows] != batch["target_item_id"].numpy()
        if other.any():
            raise _OfSomethingElse(f"it lacks user {user_ids[other][0].decode()} or their target")
        items = not_drawn(batch, prepared.catalogue)
        own = np.repeat(np.arange(len(rows)), items.row_lengths().numpy()) * base
        negatives = np.arange(len(rows))[:, None] * base + stored.items[rows]
        clash = np.isin(negatives, own + items.flat_values.numpy()) & (stored.items[rows] > 0)
        if clash.any():
            user = user_ids[clash.any(axis=1)][0].decode()
            raise _OfSomethingElse(f"negatives of user {user} are no candidates, or their target")
        drawn = np.sort(stored.items[rows], axis=1)
        twice = ((drawn[:, 1:] == drawn[:, :-1]) & (drawn[:, 1:] > 0)).any(axis=1)
        if twice.any():
            raise _OfSomethingElse(f"user {user_ids[twice][0].decode()} has a negative twice")
    if users != len(stored.user_ids):
        raise _OfSomethingElse(f"it has {len(stored.user_ids)} users, not {users}")
