"""tf.data pipelines: prepared sequences in, batches of left-padded ids out."""

import numpy as np
import tensorflow as tf

from data_prep import PreparedDataset

SHUFFLE_BUFFER = 100_000
"""Users shuffled at a time: bounds memory, and is the whole of most datasets."""

PARALLEL_CALLS = 4
PREFETCHED = 4
"""Rows mapped at a time and batches ready ahead: plenty, since a step takes far longer."""


def train_batches(
    prepared: PreparedDataset,
    window: int,
    batch_size: int,
    seed: int,
    domain: int | None = None,
    with_users: bool = False,
):
    """Training sequences, reshuffled every epoch.

    Args:
        prepared: dataset with a `train` split.
        window: T; a user contributes the most recent T + 1 training items: T inputs, T targets.
        batch_size: users a batch.
        seed: of the shuffling.
        domain: index of the only domain whose items are seen; None for all. Users without an item
            of it are left out.
        with_users: whether batches say who the users are.

    Returns:
        `tf.data.Dataset` of `{"items": [batch, length] int32}`, length at most T + 1, padded with 0
        on the left; and `"user_id": [batch] string` if asked for.
    """
    keep = _items_of(prepared, domain)

    def pick(user):
        row = {"items": keep(user["items"])[-(window + 1) :][::-1]}
        return row | {"user_id": user["user_id"]} if with_users else row

    dataset = prepared.as_dataset("train").map(pick, num_parallel_calls=PARALLEL_CALLS)
    if domain is not None:
        dataset = dataset.filter(lambda row: tf.size(row["items"]) > 0)
    if dataset.cardinality() < 0:
        # Keras begins one more step, on no data, where it does not know how many there are.
        users = dataset.reduce(np.int64(0), lambda count, _: count + 1)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(users))
    # Cached before anything random; what is cached has at most T + 1 numbers a user.
    dataset = dataset.cache().shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
    return (
        dataset.padded_batch(batch_size)
        .map(_left_padded, num_parallel_calls=PARALLEL_CALLS)
        .prefetch(PREFETCHED)
        .with_options(_options())
    )


def evaluation_batches(
    prepared: PreparedDataset, split: str, batch_size: int, domain: int | None = None
):
    """Targets of a split with the histories before them, each batch of one domain.

    Args:
        prepared: dataset with the split.
        split: `"validation"` or `"test"`.
        batch_size: users a batch.
        domain: index of the only domain whose targets, and items, are seen; None for all.

    Returns:
        `tf.data.Dataset` of `{"items": [batch, length] int32, "domain": [batch] int32, "target":
        [batch] int32 (0 when never seen in training), "user_id": [batch] string, "target_item_id":
        [batch] string}`; items are whole histories, oldest first, padded with 0 on the left.
    """
    keep = _items_of(prepared, domain)

    def pick(row):
        return {
            "items": keep(row["items"])[::-1],
            "domain": row["domain"],
            "target": row["target"],
            "user_id": row["user_id"],
            "target_item_id": row["target_item_id"],
        }

    def batch(_, rows):
        return rows.padded_batch(batch_size)

    dataset = prepared.as_dataset(split)
    if domain is not None:
        dataset = dataset.filter(lambda row: row["domain"] == domain)
    return (
        dataset.map(pick, num_parallel_calls=PARALLEL_CALLS)
        .group_by_window(lambda row: tf.cast(row["domain"], tf.int64), batch, batch_size)
        .map(_left_padded, num_parallel_calls=PARALLEL_CALLS)
        .prefetch(PREFETCHED)
        .with_options(_options())
    )


def _items_of(prepared, domain):
    """What keeps the items of one domain, or all of them, in order."""
    if domain is None:
        return lambda items: items
    first = int(prepared.catalogue.offsets[domain])
    end = first + int(prepared.catalogue.sizes[domain])
    return lambda items: tf.boolean_mask(items, (items >= first) & (items < end))


def _left_padded(batch):
    """Right padding of reversed rows -> left padding of rows in order."""
    return batch | {"items": tf.reverse(batch["items"], axis=[1])}


def _options():
    """Fixed parallelism: an iterator that ends waits for the autotuner's next round, up to 60 s."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
