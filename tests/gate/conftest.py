"""Two runs of two nights, and the log of the day after; trained once for all tests of the gate."""

import csv
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from tests.test_fit import TINY
from tf_syncrec.fit import main as fit

DAY = 86_400
NIGHT = 1_700_006_400  # Midnight, UTC, before the last day of today's log.
HEADER = "user_id", "item_id", "domain", "timestamp"
DOMAINS, ITEMS = ("books", "films", "music"), 24


def make_rows(users=360, days=30, seed=0):
    """A log in which the item after n of a domain is mostly n + 1, and everybody is there often."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        last = rng.integers(0, ITEMS, len(DOMAINS))
        for time in np.sort(rng.uniform(NIGHT - days * DAY, NIGHT + 3 * DAY, 40)).astype(int):
            domain = rng.integers(len(DOMAINS))
            last[domain] = (last[domain] + 1) % ITEMS if rng.random() < 0.9 else rng.integers(ITEMS)
            name = DOMAINS[domain]
            rows.append((f"u{user}", f"{name}{last[domain]}", name, int(time)))
    return sorted(rows, key=lambda row: row[3])


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """`rows`, and their `logs` of `yesterday`, `today` and `later`."""
    folder = tmp_path_factory.mktemp("nights")
    rows = make_rows()
    until = {"yesterday": NIGHT, "today": NIGHT + DAY}
    logs = {
        name: write(folder / f"{name}.csv", [row for row in rows if row[3] < end])
        for name, end in until.items()
    }
    logs["later"] = write(folder / "later.csv", [row for row in rows if row[3] >= NIGHT + DAY])
    return SimpleNamespace(folder=folder, rows=rows, logs=logs)


@pytest.fixture(scope="session")
def nights(written):
    """The same, and `runs` of the first two."""
    folder, runs = written.folder, {}
    for name in ("yesterday", "today"):
        runs[name] = folder / "runs" / name
        fit(
            [
                *("--dataset", "interactions", "--path", str(written.logs[name])),
                *("--data_dir", str(folder / "data"), "--output_dir", str(runs[name])),
                *("--model", "sasrec", "--config", "tiny", "--epochs", "4", "--quiet"),
                *(*TINY, "--set", "model.dim=16"),
            ]
        )
    return SimpleNamespace(**vars(written), runs=runs)


@pytest.fixture
def copy_of(nights, tmp_path):
    """`copy_of("today")`: a run that a test may change; its files are not sealed."""

    def copy(name):
        place = tmp_path / f"copy-{name}"
        shutil.copytree(nights.runs[name], place)
        (place / "files.json").unlink()
        return place

    return copy
