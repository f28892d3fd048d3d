"""Whether people come back to items: counted literally, and obeyed whatever the setting is."""

import numpy as np
import pyarrow as pa
import pytest

from data_prep import prepare
from data_prep.pipeline import repeats
from data_prep.pipeline.splits import TEST, TRAIN, VALIDATION
from data_prep.pipeline.user_histories import Histories

DOMAINS = np.array([0, 0, 1, 1, 1, 2])
"""Of items by code; nobody has anything of the last one."""


def histories(rng, users=30):
    lengths = rng.integers(1, 12, users)
    return Histories(
        user_ids=pa.array([f"u{user}" for user in range(users)]),
        starts=np.append(0, lengths.cumsum()),
        items=rng.integers(0, 5, lengths.sum()).astype(np.int32),
        timestamps=np.arange(lengths.sum(), dtype=float),
    )


@pytest.mark.parametrize("seed", range(3))
def test_training_events_that_could_repeat_and_do(seed):
    rng = np.random.default_rng(seed)
    some = histories(rng)
    roles = rng.choice([TRAIN, TRAIN, TRAIN, VALIDATION, TEST], len(some.items))
    expected = np.zeros([2, 3], int)
    for start, end in zip(some.starts[:-1], some.starts[1:], strict=True):
        had: list[int] = []
        for item, role in zip(some.items[start:end], roles[start:end], strict=True):
            if role == TRAIN:
                domain = DOMAINS[item]
                expected[0, domain] += any(DOMAINS[other] == domain for other in had)
                expected[1, domain] += item in had
                had.append(item)
    assert expected[1, :2].all()
    np.testing.assert_array_equal(repeats.count(some, roles, DOMAINS), expected)


def write_log(path):
    """Of `apps` everybody has the same two, of `books` never the same; `calls` now and then."""
    lines = ["user_id,item_id,domain,timestamp"]
    for user in range(20):
        for step in range(24):
            kind, turn = step % 3, step // 3
            item = (f"a{(user + turn % 2) % 7}", f"b{turn}", f"c{turn + (turn == 7)}")[kind]
            item = "c3" if kind == 2 and turn == 4 and user < 8 else item
            lines.append(f"u{user},{item},{('apps', 'books', 'calls')[kind]},{100 * user + step}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_domain_has_its_rule_and_it_is_told(tmp_path):
    log, names = write_log(tmp_path / "log.csv"), set()
    wanted = {"auto": [1, 0, 0], "exclude": [0, 0, 0], "include": [1, 1, 1]}
    for setting, expected in wanted.items():
        said: list[str] = []
        found = prepare(
            "interactions",
            path=log,
            data_dir=tmp_path / "data",
            repeats=setting,
            report=said.append,
        )
        names.add(found.name)
        assert found.catalogue.repeats.tolist() == [bool(rule) for rule in expected]
        rows = found.data_card["domains"].values()
        assert [row["repeats"] == "include" for row in rows] == found.catalogue.repeats.tolist()
        shares = [row["repeated_share"] for row in rows]
        assert shares[0] > 0.5 and shares[1] == 0 and 0 < shares[2] < repeats.SHARE
        line = " ".join(line for line in said if "Repeat consumption" in line)
        assert f"apps ({shares[0]:.1%})" in line
        assert ("repeated targets are misses" in line) == (setting == "exclude")
        assert ("books (0.0%)" in line) == (setting == "include")
    assert len(names) == 3, "one is taken for another"
