"""Everybody's history is all that the log says of them, in order, whatever trains."""

import collections
import hashlib

import numpy as np
import pyarrow as pa
import pytest

from data_prep import InputError
from data_prep.log_histories import SCHEMA, write_histories
from data_prep.settings import data_config


def read(path):
    with pa.OSFile(str(path)) as file:
        reader = pa.ipc.open_file(file)
        assert reader.schema == SCHEMA
        return [reader.get_batch(n).to_pylist() for n in range(reader.num_record_batches)]


@pytest.mark.parametrize("batch_rows", [7, 100_000])
def test_all_events_of_all_users_in_order(tmp_path, batch_rows):
    rng = np.random.default_rng(0)
    rows: list[tuple] = [
        (f"u{rng.zipf(1.5) % 40}", f"i{rng.integers(30)}", f"d{rng.integers(3)}", rng.integers(9))
        for _ in range(600)
    ]
    rows += [("once", "rare", "d0", 5), rows[0]]
    log = tmp_path / "log.csv"
    header = "user_id", "item_id", "domain", "timestamp"
    lines = [",".join(map(str, row)) for row in [header, *rows]]
    log.write_text("\n".join(lines) + "\n")
    literal = collections.defaultdict(set)
    for user, item, _, time in rows:
        literal[user].add((float(time), item))

    def order(user):
        return lambda event: (event[0], hashlib.md5(f"{user}\x1f{event[1]}".encode()).digest())

    path = tmp_path / "work" / "histories.arrow"
    said: list[str] = []
    path.parent.mkdir()
    settings = data_config("interactions", path=str(log), min_interactions=5)
    assert write_histories(settings, path, said.append, batch_rows) == len(literal)
    batches = read(path)
    assert (len(batches) > 5) == (batch_rows == 7)
    found = {row["user_id"]: row for batch in batches for row in batch}
    assert found.keys() == literal.keys() and sum(map(len, batches)) == len(literal)
    for user, events in literal.items():
        expected = sorted(events, key=order(user))
        assert found[user]["items"] == [item for _, item in expected]
        assert found[user]["timestamps"] == [time for time, _ in expected]
    assert said == [f"Read 602 rows of {len(literal)} users."]
    # In an order that says nothing of ids: by their hashes.
    names = [row["user_id"] for batch in batches for row in batch]
    assert names == sorted(names, key=lambda name: hashlib.md5(name.encode()).hexdigest())


def test_times_are_in_the_unit_of_the_log(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(
        "user_id,item_id,domain,timestamp\nu,b,d,2020-01-01T00:00:00.5\nu,a,d,2020-01-01\n"
    )
    write_histories(data_config("interactions", path=str(log)), tmp_path / "h.arrow")
    (((row),),) = read(tmp_path / "h.arrow")
    assert row == {"user_id": "u", "items": ["a", "b"], "timestamps": [1577836800, 1577836800.5]}


def test_bad_rows_are_listed_or_too_many(tmp_path):
    log = tmp_path / "log.csv"
    good = "".join(f"u{n},i,d,{n}\n" for n in range(20))
    log.write_text(f"user_id,item_id,domain,timestamp\n{good}u,,d,1\n")
    config = data_config("interactions", path=str(log), max_bad_share=0.1)
    said: list[str] = []
    assert write_histories(config, tmp_path / "h.arrow", said.append) == 20
    assert said[0] == "Passed over 1 bad rows: 1 × empty item_id."
    (tmp_path / "h.arrow").unlink()
    with pytest.raises(InputError, match=r"log.csv: line 22: empty item_id"):
        write_histories(data_config("interactions", path=str(log)), tmp_path / "h.arrow")
    assert not (tmp_path / "h.arrow").exists()


def test_domains_are_told_where_they_are_asked_for(tmp_path):
    """The domain of an item is that of most of its rows, as where a model is trained."""
    log, path = tmp_path / "log.csv", tmp_path / "histories.arrow"
    rows = ["u,i,a,1", "u,i,b,2", "u,i,b,3", "u,j,a,4", "v,j,a,5"]
    log.write_text("\n".join(["user_id,item_id,domain,timestamp", *rows]))
    settings = data_config("interactions", path=str(log))
    write_histories(settings, path, with_domains=True)
    with pa.OSFile(str(path)) as file:
        found = {row["user_id"]: row for row in pa.ipc.open_file(file).read_all().to_pylist()}
    assert found["u"]["items"] == ["i", "i", "i", "j"]
    assert found["u"]["domains"] == ["b", "b", "b", "a"] and found["v"]["domains"] == ["a"]
