"""Our shards, against TFDS's own reader and protocol buffers."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from data_prep import tfrecords
from data_prep.splits import TEST, TRAIN


def batch(lengths, seed=0):
    """Whole users with the given numbers of rows."""
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    users = [f"u{n}é" * (1 + n % 40) for n in range(len(lengths))]
    table = pa.table(
        {
            "user_id": np.repeat(np.array(users, dtype=object), lengths),
            "id": rng.integers(0, 2**31 - 1, total).astype(np.int32),
            "timestamp": rng.normal(0, 1e9, total),
            "item_id": pa.array([f"文{n}" * (n % 60) for n in range(total)]),
            "domain_index": rng.integers(0, 50, total).astype(np.int32),
        }
    )
    return table, np.append(0, np.cumsum(lengths))


def values(record):
    features = tf.train.Example.FromString(record).features.feature
    return {
        name: list((f.bytes_list if f.HasField("bytes_list") else f.int64_list).value)
        for name, f in features.items()
    }


@pytest.mark.parametrize("role", [TRAIN, TEST])
def test_protocol_buffers_read_what_was_written(role):
    # Lengths around each place where a size takes another byte.
    lengths = [1, 2, 3, 15, 16, 17, 31, 32, 33, 1000, 2047, 2048, 2049, 5000]
    table, starts = batch(lengths)
    records = list(tfrecords._records(table, starts, role))
    assert len(records) == len(lengths)
    for record, begin, end in zip(records, starts[:-1], starts[1:], strict=True):
        rows = table.slice(begin, end - begin)
        history = rows if role == TRAIN else rows.slice(0, len(rows) - 1)
        last: dict = rows.slice(len(rows) - 1).to_pylist()[0]
        target: dict = {"id": 0, "item_id": "", "domain_index": -1, "timestamp": 0.0}
        if role != TRAIN:
            target = last
        assert values(record) == {
            "user_id": [last["user_id"].encode()],
            "items": [history["id"].to_numpy().tobytes()],
            "timestamps": [history["timestamp"].to_numpy().tobytes()],
            "target": [target["id"]],
            "target_item_id": [target["item_id"].encode()],
            "domain": [target["domain_index"]],
            "target_timestamp": [np.float64(target["timestamp"]).tobytes()],
        }


def test_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecords, "_SHARD_BYTES", 2000)
    template = tfds.core.ShardedFileTemplate(
        data_dir=tmp_path, dataset_name="log", split="train", filetype_suffix="tfrecord"
    )
    batches = [batch([5] * 40, seed=seed) for seed in range(3)]
    info = tfrecords.split_info(batches, TRAIN, template)
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(info.shard_lengths) > 2 and sum(info.shard_lengths) == 120
    assert info.num_bytes == sum(file.stat().st_size for file in files)
    for file, length in zip(files, info.shard_lengths, strict=True):
        assert file.stat().st_size < 2 * 2000
        assert len(list(tf.data.TFRecordDataset(str(file)))) == length
    written = [r for file in files for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    assert written == [r for b in batches for r in tfrecords._records(b[0], b[1], TRAIN)]
