"""How fast our writer of TFRecord shards is beside protocol buffers and beside TFDS's serializer.

    python -m benchmarks.tfrecord_writers [--rows 100000]

All three write made-up rows to files in a temporary folder, one after the other in one process,
after a batch to warm up; the two slow ones write some of the rows. CPU time is compared: others may
use the machine. What we wrote is read by TFDS and compared with the rows.
"""

import argparse
import functools
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_datasets as tfds

from data_prep.pipeline.sequences import Rows
from data_prep.store.features import features
from data_prep.store.tfrecords import write_split

BATCH = 5_000  # users, about as many as have the events that the pipeline takes at a time


def made_up(seed, users=BATCH):
    """Histories of 3 to 60 events, with a target each."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 61, users)
    events = int(lengths.sum())
    return Rows(
        user_ids=pa.array([f"user_{n:07d}" for n in range(users)]),
        starts=np.append(0, lengths.cumsum()),
        ids=rng.integers(1, 20_000, events).astype(np.int32),
        timestamps=rng.integers(1_400_000_000, 1_500_000_000, events).astype(float),
        targets=rng.integers(0, 20_000, users),
        target_item_ids=pa.array([f"item_{n:06d}" for n in rng.integers(0, 20_000, users)]),
        domains=rng.integers(0, 5, users),
        target_timestamps=rng.integers(1_400_000_000, 1_500_000_000, users).astype(float),
        basket_starts=np.arange(users + 1),
        baskets=rng.integers(0, 20_000, users).astype(np.int32),
    )


def examples_of(rows):
    """The same as dicts, a user each."""
    users, names = rows.user_ids.to_pylist(), rows.target_item_ids.to_pylist()
    for n, (begin, end) in enumerate(itertools.pairwise(rows.starts)):
        yield {
            "user_id": users[n],
            "items": rows.ids[begin:end],
            "timestamps": rows.timestamps[begin:end],
            "target": rows.targets[n],
            "target_item_id": names[n],
            "domain": rows.domains[n],
            "target_timestamp": rows.target_timestamps[n],
            "basket": rows.baskets[n : n + 1],
        }


def feature_of(value):
    """A value as protocol buffers have it; arrays and numbers with a fraction as bytes."""
    if isinstance(value, (np.ndarray, np.float64)):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
    if isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value)]))


def by_example(row):
    """A record, by `tf.train.Example`."""
    named = {name: feature_of(value) for name, value in row.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    warm, *batches = map(made_up, range(1 + parser.parse_args().rows // BATCH))
    kinds = features()
    serializer = tfds.core.example_serializer.ExampleSerializer(kinds.get_serialized_info())

    def by_tfds(row):
        return serializer.serialize_example(kinds.encode_example(row))

    def with_us(rows, folder):
        write_split(
            rows,
            tfds.core.ShardedFileTemplate(
                data_dir=folder, dataset_name="ours", split="test", filetype_suffix="tfrecord"
            ),
        )

    def with_tensorflow(serialize, rows, folder):
        with tf.io.TFRecordWriter(str(folder / "theirs")) as writer:
            for row in itertools.chain.from_iterable(map(examples_of, rows)):
                writer.write(serialize(row))

    ways: dict[str, tuple[Callable[..., None], int]] = {
        "ours": (with_us, len(batches)),
        "tf.train.Example": (functools.partial(with_tensorflow, by_example), 4),
        "TFDS": (functools.partial(with_tensorflow, by_tfds), 2),
    }
    rates = {}
    with tempfile.TemporaryDirectory() as name:
        for way, (write, count) in ways.items():
            write([warm], Path(name))
            start = time.process_time()
            write(batches[:count], Path(name))
            rates[way] = count * BATCH / (time.process_time() - start)
        files = sorted(map(str, Path(name).glob("ours-*")))
        read = tf.data.TFRecordDataset(files).map(kinds.deserialize_example).as_numpy_iterator()
        wanted = itertools.chain.from_iterable(map(examples_of, batches))
        for row, found in zip(wanted, read, strict=True):
            assert np.array_equal(row["items"], found["items"])
            assert row["user_id"].encode() == found["user_id"]
    for way, rate in rates.items():
        print(f"{way:17} {rate:9,.0f} rows a CPU second; ours: {rates['ours'] / rate:.1f} times")


if __name__ == "__main__":
    main()
