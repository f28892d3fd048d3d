"""tf.data pipelines: prepared sequences in, batches of left-padded ids out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import tensorflow as tf

from data_prep import Catalogue
from tf_syncrec.data.packing import pack


class Sequences(Protocol):
    """What a `PreparedDataset` is to training and ranking: rows of users, and their items."""

    @property
    def catalogue(self) -> Catalogue:
        """The known items."""

    def as_dataset(self, split: str) -> tf.data.Dataset:
        """Rows of `user_id, items`; of `train` also `timestamps`, of the others the target."""


Layout = Literal["packed", "padded", "users"]

SHUFFLE_BUFFER = 100_000
"""Windows shuffled at a time: bounds memory, and is the whole of most datasets."""

PARALLEL_CALLS = 4
PREFETCHED = 4
"""Rows mapped at a time and batches ready ahead: plenty, since a step takes far longer."""

USERS_AT_ONCE = 1024
"""Users whose sequences are cut into windows together."""

as_it_is = tf.autograph.experimental.do_not_convert
"""Of a function without control flow over tensors: AutoGraph takes seconds to find that out."""

LENGTHS = [8, 16, 32, 64]
"""Histories between two of these are ranked together: a batch costs what its longest row does."""


@dataclass(frozen=True)
class TrainBatches:
    """Training batches whose order is a function of seed and epoch.

    Any position of a training can so be found again without replaying what came before it.

    Attributes:
        windows: all of them, in the order of the data, before anything random.
        users: whose each window is, in the same order.
        count: how many there are.
        batch_size: windows a batch.
        seed: of the shuffling.
        lay_out: from windows to what the model reads.
    """

    windows: tf.data.Dataset
    users: tf.data.Dataset
    count: int
    batch_size: int
    seed: int
    lay_out: Callable

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-self.count // self.batch_size)

    def epoch(self, epoch: int, first: int = 0) -> tf.data.Dataset:
        """Batches of an epoch, counted from 0, from the batch `first` on."""
        count = tf.data.experimental.assert_cardinality(self.steps - first)
        return self.epochs([epoch], first).apply(count)

    def epochs(self, epochs: Sequence[int], first: int = 0) -> tf.data.Dataset:
        """Batches of several epochs, one after the other; of the first from the batch `first` on.

        Keras's `fit` takes all of them at once, with `steps_per_epoch=self.steps`.
        """
        return (
            self._in_order(self.windows, epochs, first)
            .map(self.lay_out, num_parallel_calls=PARALLEL_CALLS)
            .prefetch(PREFETCHED)
            .with_options(without_autotuning())
        )

    def dataset(self) -> tf.data.Dataset:
        """For Keras's `fit`: an epoch each time it is iterated over, in another order each time."""
        return (
            self.windows.shuffle(SHUFFLE_BUFFER, seed=self.seed, reshuffle_each_iteration=True)
            .padded_batch(self.batch_size)
            .map(self.lay_out, num_parallel_calls=PARALLEL_CALLS)
            .apply(tf.data.experimental.assert_cardinality(self.steps))
            .prefetch(PREFETCHED)
            .with_options(without_autotuning())
        )

    def __iter__(self) -> Iterator:
        """The batches of the first epoch."""
        return iter(self.epoch(0))

    def users_of(self, epoch: int, step: int) -> list[str]:
        """Whose windows a batch has; reads the data up to there, so it is for rare cases."""
        batches = self._in_order(self.users, [epoch], step).with_options(without_autotuning())
        return sorted({user.decode() for user in next(batches.as_numpy_iterator(), ())})

    def _in_order(self, rows: tf.data.Dataset, epochs: Sequence[int], first: int):
        """Batches of rows; the same order for any rows that are as many."""

        @as_it_is
        def batches_of(seed, skipped):
            # Of this function alone. TensorFlow (2.21) cannot join a seed of 0 with a tensor.
            tf.random.set_seed(self.seed or 1)
            shuffled = rows.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False)
            return shuffled.skip(skipped).padded_batch(self.batch_size)

        seeds = [
            int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]) for epoch in epochs
        ]
        skipped = [first * self.batch_size] + [0] * (len(seeds) - 1)
        positions = tuple(np.array(values, np.int64) for values in (seeds, skipped))
        return tf.data.Dataset.from_tensor_slices(positions).flat_map(batches_of)


def train_batches(
    prepared: Sequences,
    window: int,
    batch_size: int,
    seed: int,
    layout: Layout = "packed",
    windows: Literal["all", "last"] = "all",
    times: bool = False,
) -> TrainBatches:
    """Training sequences, in another order every epoch.

    The sequence of a user is cut into windows of T targets, the most recent ones together, so that
    every item is a target once an epoch. A window begins with the last item of the one before it.

    Args:
        prepared: dataset with a `train` split.
        window: T.
        batch_size: windows a batch.
        seed: of the shuffling.
        layout: `"packed"`: `{"items", "segments"}` of `packing.pack`; `"padded"`: `{"items"}`, a
            window a row, padded with 0 on the left; `"users"`: the same, where windows do not
            overlap, and whose they are, `{"items", "user_id"}`.
        windows: `"last"` leaves out all but the latest window of each user.
        times: whether batches say when items were; not of `"users"`.

    Returns:
        Batches of `{"items": [rows, length] int32, "segments": [rows, length] int32, "user_id":
        [rows] string, "timestamps": [rows, length] float64}`, length at most T + 1.
    """
    of_items = ("items", "timestamps") if times else ("items",)

    def num_windows(items):
        counts = tf.cast((items.row_lengths() + window - 1) // window, tf.int32)
        return tf.minimum(counts, 1) if windows == "last" else counts

    users = (
        prepared.as_dataset("train")
        .map(as_it_is(lambda user: {name: user[name] for name in (*of_items, "user_id")}))
        .ragged_batch(USERS_AT_ONCE)
    )
    # Counted, since Keras begins one more step, on no data, where it does not know how many.
    count = users.with_options(without_autotuning()).reduce(
        np.int64(0),
        as_it_is(lambda n, some: n + tf.cast(tf.reduce_sum(num_windows(some["items"])), tf.int64)),
    )

    @as_it_is
    def pick(row):
        known = row["items"] > 0
        found = {name: tf.boolean_mask(row[name], known)[::-1] for name in of_items}
        return found | ({"user_id": row["user_id"]} if layout == "users" else {})

    @tf.function(autograph=False)  # traced once, not once an epoch
    def lay_out(rows):
        rows = _left_padded(rows)
        if layout != "packed":
            return rows
        when = [rows["timestamps"]] if times else []
        items, segments, *when = pack(rows["items"], window, *when)
        return {"items": items, "segments": segments} | ({"timestamps": when[0]} if times else {})

    cut = (
        users.map(as_it_is(lambda some: _windows(some, num_windows(some["items"]), window, layout)))
        .unbatch()
        .apply(tf.data.experimental.assert_cardinality(count))
    )
    return TrainBatches(
        # Cached before anything random; what is cached has at most T + 1 numbers a window.
        windows=cut.map(pick, num_parallel_calls=PARALLEL_CALLS).cache(),
        users=cut.map(as_it_is(lambda row: row["user_id"]), num_parallel_calls=PARALLEL_CALLS),
        count=int(count),
        batch_size=batch_size,
        seed=seed,
        lay_out=lay_out,
    )


TARGET = ("user_id", "domain", "target", "target_item_id", "target_timestamp")
"""What a row of a split says of its target, and whose it is."""


ASKED = "asked"
"""What begins the names by which a batch has what was said of its histories, see `asked`."""

LIKE_USERS = (f"{ASKED}_users", f"{ASKED}_users_after", f"{ASKED}_users_before")
"""Where a batch has `layers.UserNeighbours.votes` for the items of its domain."""


def asked(told: str | None) -> str:
    """Where a batch has what a network said of its histories: `scoring.kept_batches`.

    Args:
        told: what the network was told of times, None or one of `evaluation.TIMED`.
    """
    return ASKED if told is None else f"{ASKED}_{told}"


def evaluation_batches(prepared: Sequences, split: str, batch_size: int):
    """Targets of a split with the histories before them, each batch of one domain.

    Args:
        prepared: dataset with the split.
        split: `"validation"` or `"test"`.
        batch_size: users a batch.

    Returns:
        `tf.data.Dataset` of `{"items": [batch, length] int32, "domain": [batch] int32, "target":
        [batch] int32 (0 when never seen in training), "user_id": [batch] string, "target_item_id":
        [batch] string, "excluded": [batch, length] int32, "timestamps": [batch, length] float64,
        "target_timestamp": [batch] float64, "basket": [batch, any] int32, "basket_size": [batch]
        int32}`; items are whole histories, oldest first, padded with 0 on the left; excluded are
        those of them that are no candidates, 0 in the places of others: `Catalogue.repeats`
        decides. Times are in the log's unit. The basket is all that was done in the target's domain
        at its time, 0 in the places of what training never saw and of nothing, and how many it is.
    """
    excluded = tf.constant(prepared.catalogue.excluded)

    @as_it_is
    def pick(row):
        return {
            "items": row["items"][::-1],
            "timestamps": row["timestamps"][::-1],
            "basket": row["basket"],
            "basket_size": tf.size(row["basket"]),
            **{name: row[name] for name in TARGET},
        }

    @as_it_is
    def kind(row):
        length = tf.searchsorted(LENGTHS, tf.size(row["items"])[None])[0]
        return tf.cast(row["domain"] * (len(LENGTHS) + 1) + length, tf.int64)

    @as_it_is
    def batch(_, rows):
        return rows.padded_batch(batch_size)

    @as_it_is
    def with_excluded(batch):
        return batch | {"excluded": _excluded(batch["items"], excluded)}

    return (
        prepared.as_dataset(split)
        .map(pick, num_parallel_calls=PARALLEL_CALLS)
        .group_by_window(kind, batch, batch_size)
        .map(_left_padded, num_parallel_calls=PARALLEL_CALLS)
        .map(with_excluded, num_parallel_calls=PARALLEL_CALLS)
        .prefetch(PREFETCHED)
        .with_options(without_autotuning())
    )


def with_history(batch, kept, catalogue):
    """The same rows with a part of their histories.

    Args:
        batch: of `evaluation_batches`.
        kept: `[batch, length]` bool, which interactions.
        catalogue: items and domains.
    """
    order = tf.argsort(tf.cast(kept, tf.int32), axis=1, stable=True)  # padding to the left again
    parts = {
        name: tf.gather(tf.where(kept, batch[name], 0), order, batch_dims=1)
        for name in ("items", "timestamps")
    }
    excluded = _excluded(parts["items"], catalogue.excluded)
    return without_asked(batch) | parts | {"excluded": excluded}


def without_asked(batch):
    """A batch without what was said of its histories for the items of its domain."""
    return {name: part for name, part in batch.items() if not name.startswith(ASKED)}


def _excluded(items, excluded):
    """Those of a history that are no candidates, 0 in the places of others."""
    return tf.where(tf.gather(excluded, items), items, 0)


def datasets(
    prepared: Sequences, model: Any, batch_size: int = 128, seed: int = 0
) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """What a network is trained on and ranked with, for Keras's `fit` and `evaluate`.

    Args:
        prepared: of `prepare`.
        model: a network; says how long its window is, and how it wants its batches.
        batch_size: windows a batch of training.
        seed: of the order of the training.

    Returns:
        Training, validation and test batches. The training is in another order each epoch.

    Raises:
        ValueError: the network has other domains or numbers of items than the data.
    """
    catalogue = prepared.catalogue
    if tuple(model.domain_sizes) != tuple(catalogue.sizes):
        sizes = dict(zip(catalogue.domains, map(int, catalogue.sizes), strict=True))
        raise ValueError(
            f"The model must be made for the domains and numbers of items of the data, {sizes}. "
            f"Received: one for {dict(zip(model.domains, model.domain_sizes, strict=True))}"
        )
    train = train_batches(
        prepared, model.window, batch_size, seed, model.batch_layout, times=bool(model.time_inputs)
    )
    validation, test = (
        evaluation_batches(prepared, split, 2 * batch_size) for split in ("validation", "test")
    )
    return train.dataset(), validation, test


def first_users(batches: Iterable, wanted) -> Iterator[tuple[int, dict]]:
    """The first users of each domain.

    Args:
        batches: of `evaluation_batches`, each of one domain.
        wanted: `[domains]`, how many of each.

    Yields:
        `(domain, batch)`, the batch cut to the rows that are still wanted; no batch is read after
        the last of them.
    """
    missing = np.array(wanted)
    for batch in batches:
        domain = int(batch["domain"][0])
        if missing[domain]:
            some = {name: part[: missing[domain]] for name, part in batch.items()}
            missing[domain] -= len(some["domain"])
            yield domain, some
        if not missing.any():
            return


def _windows(users, counts, window, layout):
    """Cuts a ragged batch of users into windows, padded with 0 on the left: `[windows, T + 1]`."""
    items = users["items"]
    of_items = [name for name in ("items", "timestamps") if name in users]
    lengths = tf.cast(items.row_lengths(), tf.int32)
    owner = tf.repeat(tf.range(tf.size(counts)), counts)
    # Windows of a user still to come: the last one ends where the sequence does.
    later = tf.gather(tf.cumsum(counts), owner) - 1 - tf.range(tf.size(owner))
    ends = tf.gather(lengths, owner) - later * window
    columns = ends[:, None] - tf.range(window + 1, 0, -1)
    known = (columns >= 0) & ((layout != "users") | (tf.range(window + 1) > 0))
    flat = tf.gather(tf.cast(items.row_starts(), tf.int32), owner)[:, None] + columns
    flat = tf.where(known, flat, 0)
    cut = {name: tf.where(known, tf.gather(users[name].flat_values, flat), 0) for name in of_items}
    return cut | {"user_id": tf.gather(users["user_id"], owner)}


@as_it_is
def _left_padded(batch):
    """Right padding of reversed rows -> left padding of rows in order."""
    reversed_rows = {name: batch[name] for name in ("items", "timestamps") if name in batch}
    return batch | {name: tf.reverse(rows, axis=[1]) for name, rows in reversed_rows.items()}


def without_autotuning() -> tf.data.Options:
    """Fixed parallelism: an iterator that ends waits for the autotuner's next round, up to 60 s."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return options
