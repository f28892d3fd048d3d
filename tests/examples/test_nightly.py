"""Five nights of examples/nightly, with a client that asks all the time: one bad log, one kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from serving.client import Client
from tests.support.rest_server import running, wait_for
from tf_syncrec.config import load, shipped
from tf_syncrec.utils.locks import RunLock

pytestmark = pytest.mark.slow

NIGHTLY = Path(__file__).parents[2] / "examples" / "nightly"
DAY, FIRST = 86_400, 1_700_006_400  # midnight, UTC
DAYS = [f"2023-11-{day}" for day in range(14, 20)]
"""The first file has all that was before."""
DOMAINS, ITEMS = ("books", "films", "music"), 24


def rows_by_day(users=300, days=30, seed=0):
    """The item after n of a domain is mostly n + 1; what happened before is of the first day."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple]] = {day: [] for day in DAYS}
    for user in range(users):
        last = rng.integers(0, ITEMS, len(DOMAINS))
        times = np.sort(rng.uniform(FIRST - days * DAY, FIRST + (len(DAYS) - 1) * DAY, 50))
        for at in times.astype(int):
            domain = rng.integers(len(DOMAINS))
            last[domain] = (last[domain] + 1) % ITEMS if rng.random() < 0.9 else rng.integers(ITEMS)
            name = DOMAINS[domain]
            row = f"u{user}", f"{name}{last[domain]}", name, int(at)
            rows[DAYS[max(0, 1 + (at - FIRST) // DAY)]].append(row)
    return rows


def write(file, rows):
    with file.open("w", newline="") as new:
        csv.writer(new).writerows([("user_id", "item_id", "domain", "timestamp"), *rows])


class Asking(threading.Thread):
    """A client without a pause; what goes wrong is kept."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.client, self.answers, self.wrong = Client(url, retries=0), 0, []
        self.ended = threading.Event()

    def run(self):
        rng = np.random.default_rng(0)
        while not self.ended.wait(0.02):
            history = [f"books{n}" for n in rng.integers(0, ITEMS, 3)]
            try:
                (answer,) = self.client.recommend([history], "books", k=5)
                assert len(answer.items) == 5 and not answer.fallback
                self.answers += 1
            except Exception as error:
                self.wrong.append(repr(error))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Logs of the days, which come one by one, and settings that train in seconds."""
    folder = tmp_path_factory.mktemp("nightly")
    (folder / "logs").mkdir()
    settings = load(shipped("tiny")).model_dump(exclude={"data"})
    settings["model"] |= {"dim": 16, "name": "sasrec"}
    settings["train"] |= {"epochs": 4}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def begin(place, *more):
    command = [sys.executable, str(NIGHTLY / "night.py"), "--logs", str(place / "logs")]
    command += ["--work", str(place / "work"), "--config", str(place / "config.yaml"), *more]
    environment = os.environ | {"PYTHONPATH": str(NIGHTLY.parents[1])}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process):
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def notes(place, day):
    return json.loads((place / "work" / "nights" / day / "night.json").read_text())


def test_five_nights(place):
    rows = rows_by_day()
    write(place / "logs" / f"{DAYS[0]}.csv", rows[DAYS[0]])
    write(place / "logs" / f"{DAYS[1]}.csv", rows[DAYS[1]])
    code, said = ended(begin(place))
    assert code == 0, said
    assert notes(place, DAYS[1])["judge"] == "first"
    with running(place / "work" / "served" / "syncrec") as rest:
        asking = Asking(rest.url)
        asking.start()
        assert answering(asking) == 1

        # A good night.
        write(place / "logs" / f"{DAYS[2]}.csv", rows[DAYS[2]])
        code, said = ended(begin(place))
        assert code == 0, said
        assert "Warm start from" in said and "PASSED" in said
        wait_for(lambda: answering(asking) == 2)
        assert users_answered(place) == users_until(rows, DAYS[:3])

        # The clock of a bad one is a thousand times too fast.
        wrong = [(*row[:3], row[3] * 1000) for row in rows[DAYS[3]]]
        write(place / "logs" / f"{DAYS[3]}.csv", wrong)
        code, said = ended(begin(place))
        assert code == 3 and f"Held back: {DAYS[3]}" in said, said
        assert "rows with future dates" in said
        assert "fit" not in notes(place, DAYS[3]) and answering(asking) == 2
        assert users_answered(place) == users_until(rows, DAYS[:3])

        # Killed in the middle of its training, and begun again.
        write(place / "logs" / f"{DAYS[4]}.csv", rows[DAYS[4]])
        process = begin(place)
        run = place / "work" / "nights" / DAYS[4] / "run"
        wait_for((run / "config.yaml").exists)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert "fit" not in notes(place, DAYS[4]) and not notes(place, DAYS[4]).get("finished")
        code, said = ended(begin(place))
        assert code == 0 and f"{DAYS[4]}: check" not in said, said
        assert notes(place, DAYS[4])["fit"] == "went on"
        wait_for(lambda: answering(asking) == 3)

        write(place / "logs" / f"{DAYS[5]}.csv", rows[DAYS[5]])
        code, said = ended(begin(place))
        assert code == 0, said
        wait_for(lambda: answering(asking) == 4)
        learned = sorted((place / "work" / "nights" / DAYS[5] / "log").iterdir())
        assert [file.stem for file in learned] == [DAYS[0], DAYS[1], DAYS[2], DAYS[4]]

        asking.ended.set()
        asking.join(10)
        assert asking.wrong == [] and asking.answers > 100
    code, said = ended(begin(place))
    assert (code, said) == (0, "")  # nothing is due


def answering(asking):
    """The newest version that is served."""
    states = asking.client.status()
    return max(int(each["version"]) for each in states if each["state"] == "AVAILABLE")


def users_answered(place):
    recs = pq.read_table(place / "work" / "recs.parquet", columns=["user_id", "rank"]).to_pandas()
    assert recs["rank"].max() == 10
    return set(recs.user_id)


def users_until(rows, days):
    return {row[0] for day in days for row in rows[day]}


def test_two_at_a_time_are_refused(place):
    (place / "work").mkdir(exist_ok=True)
    lock = RunLock(place / "work")
    assert lock.take() is None
    try:
        code, said = ended(begin(place))
    finally:
        lock.release()
    assert code == 2 and "is at work there" in said
