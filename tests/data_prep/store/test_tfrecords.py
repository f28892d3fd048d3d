"""Our shards, against TFDS's own reader and protocol buffers."""

import tempfile

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from data_prep.pipeline.sequences import Rows
from data_prep.pipeline.splits import TEST, TRAIN
from data_prep.store import tfrecords


def batch(lengths, role=TEST, seed=0):
    """Users with histories of the given lengths."""
    rng = np.random.default_rng(seed)
    users, total = len(lengths), sum(lengths)
    names = [f"文{n}" * (n % 60) for n in range(users)]
    # Numbers around each place where one takes another byte.
    targets = rng.choice([0, 1, *(2**n + d for n in (7, 14, 21, 28) for d in (-1, 0))], users)
    nothing = role == TRAIN
    sizes = np.zeros(users, int) if nothing else rng.integers(1, 9, users)
    return Rows(
        user_ids=pa.array([f"u{n}é" * (1 + n % 40) for n in range(users)]),
        starts=np.append(0, np.cumsum(lengths)),
        ids=rng.integers(0, 2**31 - 1, total).astype(np.int32),
        timestamps=rng.normal(0, 1e9, total),
        targets=np.zeros(users, int) if nothing else targets,
        target_item_ids=pa.repeat("", users) if nothing else pa.array(names),
        domains=np.full(users, -1) if nothing else rng.integers(0, 300, users),
        target_timestamps=np.zeros(users) if nothing else rng.normal(0, 1e9, users),
        basket_starts=np.append(0, np.cumsum(sizes)),
        baskets=rng.integers(0, 2**31 - 1, sizes.sum()).astype(np.int32),
    )


def records_of(rows):
    """What `_records` puts together, taken apart by TensorFlow, which checks the checksums."""
    data, starts = tfrecords._records(rows)
    assert starts[-1] == len(data)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        records = list(tf.data.TFRecordDataset(file.name).as_numpy_iterator())
    assert [len(record) + 16 for record in records] == np.diff(starts).tolist()
    return records


def values(record):
    features = tf.train.Example.FromString(record).features.feature
    return {
        name: list((f.bytes_list if f.HasField("bytes_list") else f.int64_list).value)
        for name, f in features.items()
    }


@pytest.mark.parametrize("role", [TRAIN, TEST])
def test_protocol_buffers_read_what_was_written(role):
    # Lengths around each place where a size takes another byte.
    lengths = [0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 1000, 2047, 2048, 2049, 5000]
    rows = batch(lengths, role)
    records = records_of(rows)
    assert len(records) == len(lengths)
    for n, record in enumerate(records):
        begin, end = rows.starts[n : n + 2]
        basket = slice(*rows.basket_starts[n : n + 2])
        assert values(record) == {
            "user_id": [rows.user_ids[n].as_py().encode()],
            "items": [rows.ids[begin:end].tobytes()],
            "timestamps": [rows.timestamps[begin:end].tobytes()],
            "target": [rows.targets[n]],
            "target_item_id": [rows.target_item_ids[n].as_py().encode()],
            "domain": [rows.domains[n]],
            "target_timestamp": [rows.target_timestamps[n].tobytes()],
            "basket": [rows.baskets[basket].tobytes()],
        }


def write(folder, batches):
    template = tfds.core.ShardedFileTemplate(
        data_dir=folder, dataset_name="log", split="test", filetype_suffix="tfrecord"
    )
    return tfrecords.write_split(batches, template), sorted(folder.iterdir())


def test_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecords, "_SHARD_BYTES", 2000)
    batches = [batch([5] * 40, seed=seed) for seed in range(3)]
    info, files = write(tmp_path, batches)
    assert len(files) == len(info.shard_lengths) > 2 and sum(info.shard_lengths) == 120
    assert info.num_bytes == sum(file.stat().st_size for file in files)
    largest = max(len(record) + 16 for rows in batches for record in records_of(rows))
    for file, length in zip(files, info.shard_lengths, strict=True):
        assert (file.stat().st_size <= 2000 + largest) and (file.stat().st_size > 2000) | (
            file == files[-1]
        )
        assert len(list(tf.data.TFRecordDataset(str(file)))) == length
    written = [r for file in files for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    assert written == [record for rows in batches for record in records_of(rows)]


def test_where_batches_end_does_not_show(tmp_path, monkeypatch):
    """Engines and threads cut batches differently."""
    whole = batch([n % 7 for n in range(60)])
    for limit in (1, 500, 2000, 1 << 20):
        monkeypatch.setattr(tfrecords, "_SHARD_BYTES", limit)
        found = []
        for size in (60, 7, 1):
            folder = tmp_path / f"{limit}-{size}"
            folder.mkdir()
            parts = [part(whole, begin, min(60, begin + size)) for begin in range(0, 60, size)]
            info, files = write(folder, parts)
            found.append((info.shard_lengths, [file.read_bytes() for file in files]))
        assert found[0] == found[1] == found[2]


def part(rows, begin, end):
    first, last = rows.starts[begin], rows.starts[end]
    events = {name: getattr(rows, name)[first:last] for name in ("ids", "timestamps")}
    names = ("user_ids", "targets", "target_item_ids", "domains", "target_timestamps")
    users = {name: getattr(rows, name)[begin:end] for name in names}
    of_baskets = rows.basket_starts[begin : end + 1]
    return Rows(
        **users,
        **events,
        starts=rows.starts[begin : end + 1] - first,
        baskets=rows.baskets[of_baskets[0] : of_baskets[-1]],
        basket_starts=of_baskets - of_baskets[0],
    )
