"""tf.data pipelines: prepared sequences in, batches of left-padded ids out."""

import tensorflow as tf

from data_prep import PreparedDataset

SHUFFLE_BUFFER = 100_000
"""Users shuffled at a time: bounds memory, and is the whole of most datasets."""

LENGTH_GROUPS = 5
"""Into how many groups of similar length the training sequences of a window fall."""


def train_batches(prepared: PreparedDataset, window: int, batch_size: int, seed: int):
    """Training sequences, reshuffled every epoch.

    A batch holds sequences of similar length: most users have far fewer than T items, and what a
    batch costs follows its longest sequence.

    Args:
        prepared: dataset with a `train` split.
        window: T; a user contributes the most recent T + 1 training items: T inputs, T targets.
        batch_size: users a batch.
        seed: of the shuffling.

    Returns:
        `tf.data.Dataset` of `{"items": [batch, length] int32}`, length at most T + 1, padded with 0
        on the left.
    """
    dataset = prepared.as_dataset("train").map(
        lambda user: user["items"][-(window + 1) :][::-1], num_parallel_calls=tf.data.AUTOTUNE
    )
    # Cached before anything random; what is cached has at most T + 1 numbers a user.
    dataset = dataset.cache().shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=True)
    boundaries = sorted({1 + window * group // LENGTH_GROUPS for group in range(1, LENGTH_GROUPS)})
    return (
        dataset.bucket_by_sequence_length(tf.size, boundaries, [batch_size] * (len(boundaries) + 1))
        .map(lambda items: {"items": _reversed_rows(items)}, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def evaluation_batches(prepared: PreparedDataset, split: str, batch_size: int):
    """Targets of a split with the histories before them, each batch of one domain.

    Returns:
        `tf.data.Dataset` of `{"items": [batch, length] int32, "domain": [batch] int32, "target":
        [batch] int32 (0 when never seen in training), "user_id": [batch] string, "target_item_id":
        [batch] string}`; items are whole histories, oldest first, padded with 0 on the left.
    """

    def pick(row):
        return {
            "items": row["items"][::-1],
            "domain": row["domain"],
            "target": row["target"],
            "user_id": row["user_id"],
            "target_item_id": row["target_item_id"],
        }

    def batch(_, rows):
        return rows.padded_batch(batch_size)

    def left_pad(rows):
        return rows | {"items": _reversed_rows(rows["items"])}

    return (
        prepared.as_dataset(split)
        .map(pick, num_parallel_calls=tf.data.AUTOTUNE)
        .group_by_window(lambda row: tf.cast(row["domain"], tf.int64), batch, batch_size)
        .map(left_pad, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def _reversed_rows(items):
    """Right padding of reversed rows -> left padding of rows in order."""
    return tf.reverse(items, axis=[1])
