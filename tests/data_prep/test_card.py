"""The data card, against counts made by hand."""

import collections
import json
import random
import re

import numpy as np
import pytest

from data_prep import InputError, prepare

NAMES = ["books", "music", "a|b"]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    rng = random.Random(3)
    rows = []
    for _ in range(1500):
        item = rng.randrange(60)
        domain = NAMES[item % 3] if rng.random() < 0.97 else rng.choice(NAMES)
        rows.append((f"u{int(rng.expovariate(0.06))}", f"i{item}", domain, rng.randrange(30)))
    rows += rows[:40]
    path = tmp_path_factory.mktemp("log") / "log.csv"
    lines = [",".join(map(str, row)) for row in rows]
    lines[700:700] = ["u1,i1,books,soon", "u1,i1,books"]
    path.write_text("\n".join(["user_id,item_id,domain,timestamp", *lines]))
    return path, rows


@pytest.fixture(scope="module")
def prepared(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return prepare("interactions", path=log[0], data_dir=folder, min_interactions=4, report=None)


@pytest.fixture(scope="module")
def card(prepared):
    return json.loads((prepared.builder.data_path / "data_card.json").read_text())


def events_of(prepared):
    """User to raw ids of all that was kept, from what was written."""
    names = np.append("", prepared.catalogue.item_ids)
    events: dict = collections.defaultdict(list)
    for row in prepared.as_dataset("train").as_numpy_iterator():
        events[row["user_id"].decode()] += list(names[row["items"]])
    for split in ("validation", "test"):
        for row in prepared.as_dataset(split).as_numpy_iterator():
            events[row["user_id"].decode()].append(row["target_item_id"].decode())
    return events


def test_every_row_is_accounted_for(log, prepared, card):
    rows = card["rows"]
    assert rows["read"] == len(log[1]) + 2 and sum(rows["bad"].values()) == 2
    assert rows["repeated"] == len(log[1]) - len({(u, i, t) for u, i, _, t in log[1]})
    kept = rows["read"] - 2 - rows["repeated"] - rows["dropped_by_core"]
    assert kept == rows["kept"] == sum(map(len, events_of(prepared).values()))
    assert rows["dropped_by_core"] > 0
    assert card["users"]["read"] == len({u for u, *_ in log[1]}) > card["users"]["kept"]
    assert card["items"]["read"] == len({i for _, i, *_ in log[1]})


def test_domains_overlap_and_lengths(log, prepared, card):
    listed: dict = collections.defaultdict(collections.Counter)
    for _, item, domain, _ in log[1]:
        listed[item][domain] += 1
    owner = {i: min(c, key=lambda d: (-c[d], d)) for i, c in listed.items()}
    strays = sum(domain != owner[item] for _, item, domain, _ in log[1])
    assert card["items"]["rows_in_another_domain"] == strays > 0
    assert card["items"]["in_several_domains"] == sum(len(c) > 1 for c in listed.values())
    events = events_of(prepared)
    users = {
        name: {u for u, seen in events.items() if name in {owner[i] for i in seen}}
        for name in sorted(NAMES)
    }
    assert list(card["domains"]) == sorted(NAMES)
    for name, found in card["domains"].items():
        mine = [i for seen in events.values() for i in seen if owner[i] == name]
        assert (found["users"], found["items"]) == (len(users[name]), len(set(mine)))
        assert found["interactions"] == len(mine)
    assert card["shared_users"] == [
        [len(users[one] & users[two]) for two in users] for one in users
    ]
    targets = sum(found["test_targets"] for found in card["domains"].values())
    assert targets == card["users"]["test_targets"] == len(list(prepared.as_dataset("test")))
    lengths = np.array([len(seen) for seen in events.values()])
    found = card["lengths"]
    assert (found["min"], found["max"]) == (lengths.min(), lengths.max())
    assert found["median"] == np.median(lengths) and found["mean"] == pytest.approx(lengths.mean())
    for part in found["histogram"]:
        inside = (lengths >= part["from"]) & (lengths <= part["to"])
        assert part["users"] == inside.sum()
    assert sum(part["users"] for part in found["histogram"]) == len(lengths)


def test_the_card_can_be_read(prepared, card):
    folder = prepared.builder.data_path
    text = (folder / "data_card.md").read_text()
    for count in (card["rows"]["read"], card["rows"]["kept"], card["users"]["kept"]):
        assert f"{count:,}" in text
    for reason in card["rows"]["bad"]:
        assert reason in text
    assert "(data_card.png)" in text and "a\\|b" in text
    assert (folder / "data_card.png").read_bytes().startswith(b"\x89PNG")
    # Every row of a table has as many cells as its head.
    for table in text.split("\n\n"):
        cells = {line.replace("\\|", "").count("|") for line in table.splitlines() if "|" in line}
        assert len(cells) <= 1


def test_what_was_done_to_values_is_told(tmp_path):
    lines = [f"u{n % 5},i{n % 7}{' ' * (n % 2)},{'ab'[n % 7 % 2]},{n}" for n in range(40)]
    lines[3:3] = ["u1,i1,b,2024-01-05", "u2 ,i2,a,2024-01-05T10:00Z"]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id, item_id, domain, timestamp", *lines]))
    said: list[str] = []
    made = prepare("interactions", path=path, data_dir=tmp_path / "data", report=said.append)
    assert made.data_card["reading"] == {"trimmed": 21, "dated": 2, "from_float": 0}
    assert made.data_card["items"]["read"] == 7
    text = (made.builder.data_path / "data_card.md").read_text()
    assert "blanks around" in text and re.search(r"blanks around[^|]*\| +21 \|", text)
    # A number has no unit of its own.
    assert any("2 rows have dates, the others numbers" in line for line in said)


@pytest.mark.parametrize("strays", [0, 3])
def test_items_of_two_domains_are_told_on_the_terminal(tmp_path, strays):
    lines = [f"u{n % 5},i{n % 7},{'ab'[n % 7 % 2]},{n}" for n in range(40)]
    lines += [f"u{n},i1,a,{n}.5" for n in range(strays)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,domain,timestamp", *lines]))
    for _ in ("prepared", "reused"):
        said: list[str] = []
        prepare("interactions", path=path, data_dir=tmp_path / "data", report=said.append)
        told = [line for line in said if "in several domains" in line]
        assert len(told) == bool(strays)
        assert all("1 items" in line and "3 of 43 rows change" in line for line in told)


def test_a_dataset_without_its_card_is_not_used(log, tmp_path):
    """Rather than to fail hours later, when the report wants it."""
    made = prepare("interactions", path=log[0], data_dir=tmp_path, report=None)
    assert made.data_card["users"]
    (made.builder.data_path / "data_card.json").unlink()
    with pytest.raises(InputError, match=r"data_card\.json.*delete") as error:
        prepare("interactions", path=log[0], data_dir=tmp_path, report=None)
    assert str(made.builder.data_path) in str(error.value)
